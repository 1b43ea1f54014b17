package tunnel_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"culvert/tunnel"
)

// TestMain ends with no goroutine left and every pooled buffer given back, whatever the
// tests did to those who had it.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if n, counted := tunnel.Lent(); counted && n != 0 && code == 0 {
			fmt.Printf("%d pooled buffers were not given back\n", n)
			code = 1
		}
		os.Exit(code)
	}))
}
