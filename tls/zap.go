package tlsconf

import (
	"github.com/rs/zerolog"
	"go.uber.org/zap/zapcore"
)

// zapCore brings what certmagic logs into the gateway's log. All of it is debug: what an operator must know is said once, by the keeper of the name.
type zapCore struct{ log zerolog.Logger }

func (c zapCore) Enabled(zapcore.Level) bool { return c.log.GetLevel() <= zerolog.DebugLevel }

func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	return zapCore{c.log.With().Fields(encode(fields)).Logger()}
}

func (c zapCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Debug().Str("severity", e.Level.String()).Str("part", e.LoggerName).Fields(encode(fields)).Msg(e.Message)
	return nil
}

func (zapCore) Sync() error { return nil }

func encode(fields []zapcore.Field) map[string]any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	return enc.Fields
}
