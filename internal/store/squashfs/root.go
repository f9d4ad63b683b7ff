package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Root says what the root directory of a file system is like. It belongs to
// root; under a container's writable directory nothing of it shows.
type Root struct {
	// Mode holds the permission bits.
	Mode uint32
	// Mtime is in seconds since 1970.
	Mtime uint32
}

// The inode of a directory, basic or extended, begins with these fields, all
// little-endian: type, mode, uid index, gid index (16 bits), mtime (32 bits).
const (
	inodeHeaderSize = 12
	typeDir         = 1
	typeExtendedDir = 8
)

// metadataSize is how much a metadata block holds. Two bytes before it tell
// its length, with the top bit set where it is not compressed.
const (
	metadataSize         = 8 << 10
	metadataUncompressed = 1 << 15
)

var errNoRootID = errors.New("no file of it belongs to root, so this process must be root, or may make user namespaces, to give the root directory to root")

// readerWriterAt is an open file system.
type readerWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// setRoot writes the root directory's attributes into the finished file. When
// it reads a tar archive, mksquashfs 4.5 takes none of them from there or from
// its options but the mode: the time is always now, the owner who runs it.
// Its inode tables are not compressed (-noI), so that they can be set here.
func setRoot(f readerWriterAt, size int64, root Root) error {
	h, err := readHeader(f, size)
	if err != nil {
		return err
	}
	ids, err := readIDs(f, h)
	if err != nil {
		return err
	}
	rootID := slices.Index(ids, 0)
	if rootID < 0 {
		return errNoRootID
	}
	// The reference is the metadata block's place in the table, and 16 bits of
	// place in the block.
	block := h.InodeTable + h.RootInode>>16
	if block >= h.DirectoryTable {
		return fmt.Errorf("%w: its root inode at %d lies outside of its table", ErrInvalid, block)
	}
	positions, err := metadataPositions(f, offset(block), int(h.RootInode&0xffff), inodeHeaderSize)
	if err != nil {
		return err
	}
	return changeInode(f, positions, uint16(rootID), root) //nolint:gosec // the table has at most 65535
}

// changeInode sets the attributes in a directory's inode, whose first bytes
// lie at positions. id is the index of its owner and group.
func changeInode(f readerWriterAt, positions []int64, id uint16, root Root) error {
	inode := make([]byte, inodeHeaderSize)
	for i, p := range positions {
		if _, err := f.ReadAt(inode[i:i+1], p); err != nil {
			return fmt.Errorf("read root inode: %w", err)
		}
	}
	if kind := binary.LittleEndian.Uint16(inode); kind != typeDir && kind != typeExtendedDir {
		return fmt.Errorf("%w: its root inode has type %d", ErrInvalid, kind)
	}
	binary.LittleEndian.PutUint16(inode[2:], uint16(root.Mode&0o7777))
	binary.LittleEndian.PutUint16(inode[4:], id)
	binary.LittleEndian.PutUint16(inode[6:], id)
	binary.LittleEndian.PutUint32(inode[8:], root.Mtime)
	for i, p := range positions {
		if _, err := f.WriteAt(inode[i:i+1], p); err != nil {
			return fmt.Errorf("write root inode: %w", err)
		}
	}
	return nil
}

// readIDs reads the table of owners. Its blocks hold 32-bit ids; a list of
// their places stands at the table's start.
func readIDs(f io.ReaderAt, h header) ([]uint32, error) {
	const perBlock = metadataSize / 4
	blocks := make([]uint64, (int(h.IDs)+perBlock-1)/perBlock)
	if err := readTable(f, offset(h.IDTable), blocks); err != nil {
		return nil, err
	}
	ids := make([]uint32, h.IDs)
	for i, block := range blocks {
		part := ids[i*perBlock : min((i+1)*perBlock, len(ids))]
		if block >= h.BytesUsed {
			return nil, fmt.Errorf("%w: a block of its owner table at %d", ErrInvalid, block)
		}
		if _, err := metadataBlock(f, offset(block), 4*len(part)); err != nil {
			return nil, fmt.Errorf("owner table: %w", err)
		}
		if err := readTable(f, offset(block)+2, part); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func readTable(f io.ReaderAt, start int64, values any) error {
	size := int64(binary.Size(values))
	if err := binary.Read(io.NewSectionReader(f, start, size), binary.LittleEndian, values); err != nil {
		return fmt.Errorf("read table at %d: %w", start, err)
	}
	return nil
}

// metadataPositions tells where in the file each of n bytes of metadata lies
// that begin with byte first of the block at start. They may go on in the next one.
func metadataPositions(f io.ReaderAt, start int64, first, n int) ([]int64, error) {
	positions := make([]int64, 0, n)
	for len(positions) < n {
		size, err := metadataBlock(f, start, 0)
		if err != nil {
			return nil, fmt.Errorf("inode table: %w", err)
		}
		for ; first < size && len(positions) < n; first++ {
			positions = append(positions, start+2+int64(first))
		}
		if len(positions) < n && size < metadataSize {
			return nil, fmt.Errorf("%w: its root inode lies outside of its table", ErrInvalid)
		}
		start, first = start+2+int64(size), max(0, first-size)
	}
	return positions, nil
}

// metadataBlock returns the length of the metadata block at start, which must
// be stored uncompressed and have at least atLeast bytes.
func metadataBlock(f io.ReaderAt, start int64, atLeast int) (int, error) {
	var head [2]byte
	if _, err := f.ReadAt(head[:], start); err != nil {
		return 0, fmt.Errorf("read metadata block at %d: %w", start, err)
	}
	n := binary.LittleEndian.Uint16(head[:])
	size := int(n &^ metadataUncompressed)
	if n&metadataUncompressed == 0 || size > metadataSize || size < atLeast {
		return 0, fmt.Errorf("%w: metadata block at %d has the header %#x", ErrInvalid, start, n)
	}
	return size, nil
}
