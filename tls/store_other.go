//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package tlsconf

import "github.com/caddyserver/certmagic"

// fileStore is certmagic's storage in files.
type fileStore struct{ certmagic.FileStorage }
