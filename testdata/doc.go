// Package testdata embeds what tests of several packages share. Only tests import it.
//
// Its folder is left out of ./... by the go command, because of its name; it can be imported all the same.
//
//	captures, err := testdata.Captures()
//	for _, c := range captures {
//		f.Add(c.ClientToServer)
//	}
package testdata
