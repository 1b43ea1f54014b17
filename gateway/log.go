package gateway

import (
	"log"
	"log/slog"

	"github.com/rs/zerolog"
)

// errorLog brings what net/http complains about into the log. Nearly all of it
// is about clients, so it is debug.
func errorLog(l zerolog.Logger) *log.Logger {
	return slog.NewLogLogger(zerolog.NewSlogHandler(l), slog.LevelDebug)
}
