package tlsconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// maxExposed is the most files that one finding names.
const maxExposed = 3

// storage writes and removes a file, and looks who else can read keys. Nothing is left behind: a directory made here would belong to whoever runs the check,
// and the gateway, as another user, could not write into it.
func (p Preflight) storage() []Finding {
	const what = "storage"
	if p.Storage == "" {
		return []Finding{{false, what, "there is none: name a directory (tls.storage), or every start orders anew and soon meets the authority's limits"}}
	}
	dir := filepath.Join(p.Storage, "acme")
	made, err := makeDirs(dir)
	defer func() {
		for _, d := range made {
			_ = os.Remove(d) // not if somebody uses it by now
		}
	}()
	if err != nil {
		return []Finding{{false, what, "cannot be made: " + err.Error() + ": name a directory that can be written (tls.storage)"}}
	}
	if err := tryWrite(dir); err != nil {
		return []Finding{{false, what, "cannot be written: " + err.Error()}}
	}
	out := []Finding{{true, what, dir + " can be written by this user: run the check as the one the gateway runs as"}}
	return append(out, exposed(p.Storage)...)
}

// makeDirs is [os.MkdirAll] that says what it made, the deepest first.
func makeDirs(dir string) (made []string, err error) {
	err = os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		made, err = makeDirs(filepath.Dir(dir))
		if err != nil {
			return made, err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		info, statErr := os.Stat(dir)
		if statErr == nil && info.IsDir() {
			return made, nil
		}
	}
	if err != nil {
		return made, err
	}
	return append([]string{dir}, made...), nil
}

// tryWrite writes as much as a certificate with all that belongs to it needs, and removes it.
func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, "check")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Sync(), f.Close())
}

// exposed finds keys that other users can read, and a directory in which they can put their own.
func exposed(storage string) []Finding {
	const what = "storage permissions"
	if runtime.GOOS == "windows" {
		return nil // access lists instead of modes
	}
	var out []Finding
	if info, err := os.Stat(storage); err == nil && info.Mode().Perm()&0o022 != 0 {
		out = append(out, Finding{false, what, fmt.Sprintf("other users can replace keys and certificates in %s: chmod 700 %[1]s", storage)})
	}
	var keys []string
	more := 0
	err := filepath.WalkDir(storage, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // the gateway runs and has removed it
		case err != nil:
			return err
		case d.IsDir() || !holdsKey(storage, path) || !readableByOthers(path):
		case len(keys) == maxExposed:
			more++
		default:
			keys = append(keys, path)
		}
		return nil
	})
	if err != nil {
		out = append(out, Finding{false, what, "cannot be looked through: " + err.Error()})
	}
	if len(keys) > 0 {
		list := strings.Join(keys, ", ")
		if more > 0 {
			list += fmt.Sprintf(" and %d more", more)
		}
		out = append(out, Finding{false, what, "other users can read " + list + ", and then pose as this gateway: chmod -R go= " + storage})
	}
	if out == nil {
		out = []Finding{{true, what, "nobody else can read a key or put one there"}}
	}
	return out
}

// holdsKey tells whether a file of the storage holds a private key: certmagic's and ours are named so, autocert keeps them with the certificates.
func holdsKey(storage, path string) bool {
	return filepath.Ext(path) == ".key" || strings.HasPrefix(path, filepath.Join(storage, "acme", "autocert")+string(filepath.Separator))
}
