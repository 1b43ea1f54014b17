package admin

import (
	"log"
	"strings"

	"github.com/rs/zerolog"
)

// scrapeLog takes what promhttp reports.
type scrapeLog struct{ log zerolog.Logger }

func (l scrapeLog) Println(v ...any) {
	event := l.log.Error()
	for _, x := range v {
		if err, ok := x.(error); ok {
			event = event.Err(err)
		}
	}
	event.Msg("metrics scrape failed")
}

// serverLog bridges http.Server.ErrorLog: its lines are about single requests.
func serverLog(l zerolog.Logger) *log.Logger { return log.New(lineWriter{l}, "", 0) }

type lineWriter struct{ log zerolog.Logger }

func (w lineWriter) Write(p []byte) (int, error) {
	w.log.Debug().Str("error", strings.TrimSpace(string(p))).Msg("admin server")
	return len(p), nil
}
