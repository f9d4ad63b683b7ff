package protocol

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/storm/thrift"
)

var update = flag.Bool("update", false, "write testdata/go.golden; hack/thrift/golden.sh has Java read it")

// golden is a value with its bytes.
type golden struct {
	name   string
	encode func() ([]byte, error)
	// check returns an error if bytes are not those of the value.
	check func(b []byte) error
	// javaOnly is of values that are only read.
	javaOnly bool
}

func raw[T any](name string, v T) golden {
	return golden{
		name:   name,
		encode: func() ([]byte, error) { return thrift.MarshalChecked(v) },
		check:  func(b []byte) error { return thrift.Same(b, v) },
	}
}

func znode[T any](name string, v T) golden {
	return golden{
		name:   name,
		encode: func() ([]byte, error) { return EncodeZnode(v) },
		check: func(b []byte) error {
			if !bytes.HasPrefix(b, gzipMagic) {
				return errors.New("not packed with gzip")
			}
			got, err := DecodeZnode[T](b)
			return same(got, v, err)
		},
	}
}

func readOnly(g golden) golden {
	g.javaOnly = true
	return g
}

func call[A, R any](name string, m thrift.Method[A, R], seq int32, args A) golden {
	return golden{
		name:   name,
		encode: func() ([]byte, error) { return framed(m.Call(seq, args)) },
		check: func(b []byte) error {
			msg, err := arrived(b)
			if err != nil {
				return err
			}
			if msg.Seq != seq {
				return fmt.Errorf("call %d instead of %d", msg.Seq, seq)
			}
			got, err := m.Args(msg)
			return same(got, args, err)
		},
	}
}

// replySeq is the sequence number of all answers.
const replySeq = 9

// reply is an answer for which the caller gets the result or an error.
func reply[A, R any](name string, m thrift.Method[A, R], result R, want error) golden {
	return golden{
		name:   name,
		encode: func() ([]byte, error) { return framed(m.Reply(thrift.Message{Seq: replySeq}, result)) },
		check: func(b []byte) error {
			content, err := thrift.ReadFrame(bytes.NewReader(b), MaxFrame)
			if err != nil {
				return err
			}
			got, err := m.Answer(content, replySeq)
			if want == nil {
				return same(got, result, err)
			}
			if err == nil || !strings.HasSuffix(err.Error(), want.Error()) {
				return fmt.Errorf("error %w instead of %w", err, want)
			}
			return nil
		},
	}
}

func exception(name string) golden {
	e := thrift.NewApplicationError(thrift.UnknownMethod, "Invalid method name: 'nothing'")
	nothing := thrift.Method[NoArgs, VoidResult]{Name: "nothing"}
	return golden{
		name:   name,
		encode: func() ([]byte, error) { return framed(thrift.Message{Method: "nothing", Seq: replySeq}.Refuse(e)) },
		check: func(b []byte) error {
			content, err := thrift.ReadFrame(bytes.NewReader(b), MaxFrame)
			if err != nil {
				return err
			}
			_, err = nothing.Answer(content, replySeq)
			got, ok := errors.AsType[*thrift.ApplicationError](err)
			if !ok {
				return fmt.Errorf("error %w", err)
			}
			return same(got, e, nil)
		},
	}
}

func same(got, want any, err error) error {
	if err == nil && !reflect.DeepEqual(got, want) {
		err = fmt.Errorf("%+v instead of %+v", got, want)
	}
	return err
}

func framed(content []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return thrift.Frame(content, MaxFrame)
}

func arrived(frame []byte) (thrift.Message, error) {
	content, err := thrift.ReadFrame(bytes.NewReader(frame), MaxFrame)
	if err != nil {
		return thrift.Message{}, err
	}
	return thrift.ParseMessage(content)
}

// readGolden reads lines of a name and bytes.
func readGolden(t testing.TB, path string) map[string][]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for line := range strings.Lines(string(content)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if found[name], err = base64.StdEncoding.DecodeString(text); err != nil {
			t.Fatalf("%s: %s: %v", path, name, err)
		}
	}
	return found
}

// TestGolden reads what Storm's own classes wrote, and writes what they have read.
func TestGolden(t *testing.T) {
	all := goldens()
	java := readGolden(t, "testdata/java.golden")
	if len(java) != len(all) {
		t.Errorf("Java wrote %d values of %d", len(java), len(all))
	}
	if *update {
		writeGolden(t, all)
	}
	ours := readGolden(t, "testdata/go.golden")
	for _, g := range all {
		t.Run(g.name, func(t *testing.T) {
			if err := g.check(java[g.name]); err != nil {
				t.Errorf("what Java wrote: %v", err)
			}
			if g.javaOnly {
				return
			}
			b, err := g.encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := g.check(b); err != nil {
				t.Errorf("what we write: %v", err)
			}
			if !bytes.Equal(unzipped(t, b), unzipped(t, ours[g.name])) {
				t.Errorf("%x instead of the bytes that Java has read, %x", b, ours[g.name])
			}
		})
	}
}

// unzipped makes znodes independent of the compressor's version.
func unzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	b, err := unpack(b)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeGolden(t *testing.T, all []golden) {
	t.Helper()
	var content strings.Builder
	for _, g := range all {
		if g.javaOnly {
			continue
		}
		b, err := g.encode()
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		fmt.Fprintf(&content, "%s %s\n", g.name, base64.StdEncoding.EncodeToString(b))
	}
	if err := os.WriteFile("testdata/go.golden", []byte(content.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
