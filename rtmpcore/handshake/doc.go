// Package handshake opens an RTMP connection: C0 C1 C2 from the client, S0 S1
// S2 from the server (RTMP 1.0 §5.2), plain or signed.
//
// It runs over any io.ReadWriter that carries the bytes in order, whatever the
// pieces, reads exactly the handshake and leaves what follows. Deadlines belong
// to the caller, who has the connection.
//
//	C0, S0     version (1)
//	C1, S1     time (4) | version of the product, or zero (4) | random (1528)
//	C2, S2     plain: a copy of the peer's C1 or S1
//	           signed: random (1504) | signature (32)
//
// The signed form is not in the specification. Flash Player 9.0.115 introduced
// it, and Flash, ffmpeg and VLC ask for it still; Flash plays H.264 and AAC only
// after it. In it C1 and S1 contain an HMAC-SHA256 of themselves (the digest),
// keyed with the product's name, at a place that the sum of four other bytes
// points to. There are two such schemes:
//
//	scheme | pointer  | digest offset
//	-------+----------+-----------------
//	0      | 8..11    | sum % 728 + 12
//	1      | 772..775 | sum % 728 + 776
//
// The digest of the peer keys the signature of C2 and S2. The keys have been
// public for many years: a digest proves nothing about who sent it.
//
// RTMPE, also not in the specification, is the signed form with C0 and S0 0x06 and a
// Diffie-Hellman public key (128, 1024-bit MODP group of RFC 2409) in C1 and S1:
//
//	scheme | pointer    | key offset
//	-------+------------+-----------------
//	0      | 1532..1535 | sum % 632 + 772
//	1      | 768..771   | sum % 632 + 8
//
// What follows C2 and S2 is encrypted (package rtmpe) with the first 16 bytes of an
// HMAC-SHA256 of the reading side's public key, keyed with the shared secret. Clients
// that say 0x08 or 0x09 would also encrypt the signatures of C2 and S2; they take 0x06
// for an answer.
//
//	res, err := handshake.Server(conn, handshake.ServerConfig{Exchange: exchange})
//	if res.Keys != nil { ... }
package handshake
