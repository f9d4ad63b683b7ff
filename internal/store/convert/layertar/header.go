package layertar

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const blockSize = 512

// Fields of a tar header, as offset and length.
var (
	fieldName     = [2]int{0, 100}
	fieldMode     = [2]int{100, 8}
	fieldUID      = [2]int{108, 8}
	fieldGID      = [2]int{116, 8}
	fieldSize     = [2]int{124, 12}
	fieldMtime    = [2]int{136, 12}
	fieldChecksum = [2]int{148, 8}
	fieldType     = 156
	fieldLink     = [2]int{157, 100}
	fieldMagic    = [2]int{257, 8}
	fieldMajor    = [2]int{329, 8}
	fieldMinor    = [2]int{337, 8}
)

// Type flags that only the output uses: GNU's long names, and pax records.
const (
	typeLongName byte = 'L'
	typeLongLink byte = 'K'
	typePAX      byte = 'x'
)

// xattrRecord is the prefix of the pax keyword of an extended attribute.
const xattrRecord = "SCHILY.xattr."

// header is one entry of the output. mksquashfs reads it with a parser of its
// own, so entries have one form only, which that parser is known to read
// right: numbers in octal or else binary, long names in GNU's way, attributes
// as SCHILY records, and no user names, which it would look up on this host.
type header struct {
	path         string
	kind         byte
	attr         attr
	size         int64
	link         string
	major, minor uint32
}

// encode appends the header's blocks to b.
func (h header) encode(b []byte) []byte {
	if len(h.attr.xattrs) > 0 {
		b = encodeBody(b, typePAX, paxRecords(h.attr.xattrs))
	}
	name, link := h.path, h.link
	if len(name) > fieldName[1] {
		b, name = encodeBody(b, typeLongName, name), ""
	}
	if len(link) > fieldLink[1] {
		b, link = encodeBody(b, typeLongLink, link), ""
	}
	return encodeBlock(b, name, link, h)
}

// encodeBody appends an entry that carries a value for the next one.
func encodeBody(b []byte, kind byte, body string) []byte {
	b = encodeBlock(b, "", "", header{kind: kind, size: int64(len(body))})
	b = append(b, body...)
	return append(b, make([]byte, padding(int64(len(body))))...)
}

func encodeBlock(b []byte, name, link string, h header) []byte {
	var block [blockSize]byte
	copy(block[fieldName[0]:][:fieldName[1]], name)
	putNumber(&block, fieldMode, int64(h.attr.mode))
	putNumber(&block, fieldUID, int64(h.attr.uid))
	putNumber(&block, fieldGID, int64(h.attr.gid))
	putNumber(&block, fieldSize, h.size)
	putNumber(&block, fieldMtime, int64(h.attr.mtime))
	block[fieldType] = h.kind
	copy(block[fieldLink[0]:][:fieldLink[1]], link)
	copy(block[fieldMagic[0]:][:fieldMagic[1]], "ustar\x0000")
	putNumber(&block, fieldMajor, int64(h.major))
	putNumber(&block, fieldMinor, int64(h.minor))
	putChecksum(&block)
	return append(b, block[:]...)
}

// putNumber writes n in octal with a NUL after it, or, where that is too
// short, in binary with the top bit set.
func putNumber(block *[blockSize]byte, field [2]int, n int64) {
	f := block[field[0]:][:field[1]]
	digits := len(f) - 1
	if n < 1<<(3*digits) {
		copy(f, fmt.Sprintf("%0*o", digits, n))
		return
	}
	for i := len(f) - 1; i > 0; i-- {
		f[i], n = byte(n&0xff), n>>8
	}
	f[0] = 0x80
}

// putChecksum writes the sum of the block's bytes, its own field taken as spaces.
func putChecksum(block *[blockSize]byte) {
	f := block[fieldChecksum[0]:][:fieldChecksum[1]]
	copy(f, "        ")
	var sum int
	for _, c := range block {
		sum += int(c)
	}
	copy(f, fmt.Sprintf("%06o\x00", sum))
}

// paxRecords formats extended attributes as "<length> <keyword>=<value>\n",
// where the length counts itself.
func paxRecords(xattrs []xattr) string {
	var b strings.Builder
	for _, x := range xattrs {
		rest := len(" \n=") + len(xattrRecord) + len(x.name) + len(x.value)
		n := rest + len(strconv.Itoa(rest))
		if grown := rest + len(strconv.Itoa(n)); grown > n {
			n = grown
		}
		fmt.Fprintf(&b, "%d %s%s=%s\n", n, xattrRecord, x.name, x.value)
	}
	return b.String()
}

// padding is the number of zeros that fill the last block of n bytes.
func padding(n int64) int64 { return -n & (blockSize - 1) }

// clampTime fits a time into squashfs's unsigned 32-bit seconds.
func clampTime(seconds int64) uint32 {
	return uint32(min(max(seconds, 0), math.MaxUint32))
}
