package rtmpcore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// SWF is a Flash application, as SWF verification knows it.
type SWF struct {
	Hash [32]byte // HMAC-SHA256 of the uncompressed file, keyed with "Genuine Adobe Flash Player 001"
	Size uint32   // of the uncompressed file, in bytes
}

// reply is the data of a client's answer, an event of user control:
//
//	1 (1) | 1 (1) | size (4) | size (4) | HMAC-SHA256 of the hash, keyed with the end of S1 (32)
func (f SWF) reply(serverTail *[32]byte) [42]byte {
	b := [42]byte{1, 1}
	binary.BigEndian.PutUint32(b[2:], f.Size)
	binary.BigEndian.PutUint32(b[6:], f.Size)
	h := hmac.New(sha256.New, serverTail[:])
	h.Write(f.Hash[:])
	h.Sum(b[:10])
	return b
}

// swfVerifier is the ability of a Session to play only to clients that show that they
// come from one of some SWF files; none: to all.
type swfVerifier interface{ SWFs() []SWF }

// ErrSWF ends a connection whose client did not pass SWF verification.
var ErrSWF = errors.New("rtmpcore: SWF verification failed")

// maxHeld is how many commands may wait for a client's SWF verification.
const maxHeld = 16

// swfCheck is a SWF verification that is under way. The client was asked when it
// connected; encoders do not know the question, so only play waits for the answer, and
// with it the commands behind it.
type swfCheck struct {
	allowed []SWF
	until   time.Time
	held    []heldCommand
}

// heldCommand is a command that waits for its client's SWF verification.
type heldCommand struct {
	typeID   uint8
	streamID uint32
	cmd      message.Command
}

// askSWF asks the client for its SWF if the session wants to know.
func (nc *NetConn) askSWF() error {
	v, ok := nc.session.(swfVerifier)
	if !ok {
		return nil
	}
	allowed := v.SWFs()
	if len(allowed) == 0 {
		return nil
	}
	nc.check = &swfCheck{allowed: allowed, until: time.Now().Add(nc.cfg.SWFTimeout)}
	return nc.answer(0, message.UserControl{Event: message.EventSWFVerifyRequest})
}

// holds reports whether a command has to wait for the answer.
func (c *swfCheck) holds(name string) bool {
	return c != nil && (name == "play" || len(c.held) > 0)
}

// hold puts a command off until the client has answered.
func (nc *NetConn) hold(typeID uint8, streamID uint32, cmd message.Command) error {
	check, h := nc.check, heldCommand{typeID, streamID, cmd}
	switch {
	case !time.Now().Before(check.until):
		check.held = append(check.held, h)
		return nc.refuseSWF("the player did not answer")
	case len(check.held) == maxHeld:
		return protocolErrorf("%d commands before an answer to SWF verification", maxHeld+1)
	}
	check.held = append(check.held, h)
	return nc.setDeadline(check.until)
}

// swfAnswered judges the client's answer and obeys what waited for it.
func (nc *NetConn) swfAnswered(data []byte) error {
	check := nc.check
	if check == nil {
		return nil // nobody asked, or it was answered already
	}
	if !check.admits(data, &nc.serverTail) {
		return nc.refuseSWF("the player is not one that this application allows")
	}
	nc.check = nil
	if len(check.held) == 0 {
		return nil
	}
	err := nc.setDeadline(time.Time{})
	for _, h := range check.held {
		if err != nil || nc.verdict != nil {
			break
		}
		err = nc.command(h.typeID, h.streamID, h.cmd)
	}
	return err
}

// admits reports whether the data is the answer of one of the files.
func (c *swfCheck) admits(data []byte, serverTail *[32]byte) bool {
	for _, f := range c.allowed {
		if want := f.reply(serverTail); hmac.Equal(data, want[:]) {
			return true
		}
	}
	return false
}

// refuseSWF tells the client, on the stream that it wants to play if it said so, and
// ends the connection.
func (nc *NetConn) refuseSWF(why string) error {
	status := message.Status{
		Level:       message.LevelError,
		Code:        message.StatusConnectRejected,
		Description: "SWF verification failed: " + why + ".",
	}
	var streamID uint32
	if held := nc.check.held; len(held) > 0 {
		streamID, status.Code = held[0].streamID, message.StatusPlayFailed
	}
	nc.check = nil
	nc.verdict = fmt.Errorf("%w: %s", ErrSWF, why)
	return nc.enqueue(streamID, nc.onStatus(status), chunk.ClassOrdered)
}

// swfLate refuses a client whose time for the answer is over, if that is what err says.
// The result is what ends the connection.
func (nc *NetConn) swfLate(err error) error {
	if check := nc.check; check == nil || len(check.held) == 0 || time.Now().Before(check.until) || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if err := nc.refuseSWF("the player did not answer"); err != nil {
		return err
	}
	return nc.verdict
}
