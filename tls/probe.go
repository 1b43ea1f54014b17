package tlsconf

import "net/http"

// probePrefix begins the tokens that a pre-flight asks for under the path of HTTP-01. They are no challenges, and the answer says that this gateway gave it.
const probePrefix = "culvert-check-"

// maxProbe is the longest token that is answered.
const maxProbe = 64

func answerProbe(w http.ResponseWriter, token string) {
	for _, r := range token {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' || len(token) > maxProbe {
			http.Error(w, "no such challenge", http.StatusNotFound)
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(token + ".culvert\n")) // the client may have gone
}
