package configs

// nearest returns the candidate that takes the fewest edits (insert, delete, replace a byte) to become name, and their number. Without a candidate
// it returns "".
func nearest(name string, candidates []string) (best string, edits int) {
	for _, c := range candidates {
		if d := distance(name, c); best == "" || d < edits {
			best, edits = c, d
		}
	}
	return best, edits
}

// distance is the Levenshtein distance of a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
