package protocol

import (
	"bytes"
	"runtime/metrics"
	"testing"

	"github.com/stormcell/stormcell/internal/storm/thrift"
)

// again decodes a struct, encodes it, and does so again: the bytes must not
// change. It compares bytes because no NaN is equal to itself.
func again[T any](t *testing.T, b []byte) {
	t.Helper()
	v, err := thrift.Unmarshal[T](b)
	if err != nil {
		return
	}
	first, err := thrift.Marshal(v)
	if err != nil {
		t.Fatalf("%T is decoded, but not encoded: %v", v, err)
	}
	w, err := thrift.Unmarshal[T](first)
	if err != nil {
		t.Fatalf("%T is encoded, but not decoded: %v", v, err)
	}
	if second, err := thrift.Marshal(w); err != nil || !bytes.Equal(first, second) {
		t.Fatalf("%T changes: %x to %x, %v", v, first, second, err)
	}
}

// allocated returns how many bytes the program has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// bounded fails when f takes much more memory than its input. The margin is for
// what else runs in the process.
func bounded(t *testing.T, input []byte, f func()) {
	t.Helper()
	before := allocated()
	f()
	if grown, limit := allocated()-before, uint64(8<<20+200*len(input)); grown > limit {
		t.Fatalf("%d bytes of input take %d bytes of memory", len(input), grown)
	}
}

func addGolden(f *testing.F, prefix string) {
	f.Helper()
	for _, file := range []string{"testdata/java.golden", "testdata/go.golden"} {
		for name, b := range readGolden(f, file) {
			if bytes.HasPrefix([]byte(name), []byte(prefix)) {
				f.Add(b)
			}
		}
	}
}

func FuzzStructs(f *testing.F) {
	addGolden(f, "")
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, b, func() {
			again[SupervisorAssignments](t, b)
			again[Assignment](t, b)
			again[SupervisorInfo](t, b)
			again[SupervisorWorkerHeartbeats](t, b)
			again[StormBase](t, b)
			again[ClusterWorkerHeartbeat](t, b)
			again[ProfileRequest](t, b)
			again[StormCode](t, b)
		})
	})
}

func FuzzZnode(f *testing.F) {
	addGolden(f, "znode-")
	f.Fuzz(func(t *testing.T, b []byte) {
		// A short input may be a long one, packed: it has a limit of its own.
		for _, decode := range []func() error{
			func() error { _, err := DecodeZnode[Assignment](b); return err },
			func() error { _, err := DecodeZnode[StormCode](b); return err },
		} {
			if err := decode(); err == nil && len(b) == 0 {
				t.Error("nothing is a structure")
			}
		}
		if v, err := DecodeZnode[StormBase](b); err == nil {
			if plain, err := thrift.Marshal(v); err == nil && thrift.Same(plain, v) == nil {
				if _, err := EncodeZnode(v); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// served decodes a call or an answer as the method's two ends do.
func served[A, R any](t *testing.T, m thrift.Method[A, R], msg thrift.Message, content []byte) {
	t.Helper()
	if m.Name != msg.Method {
		return
	}
	if args, err := m.Args(msg); err == nil {
		if _, err := m.Call(msg.Seq, args); err != nil {
			t.Errorf("%s is decoded, but not encoded: %v", m.Name, err)
		}
	}
	if result, err := m.Answer(content, msg.Seq); err == nil {
		if _, err := m.Reply(msg, result); err != nil {
			t.Errorf("%s is decoded, but not encoded: %v", m.Name, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	addGolden(f, "call-")
	addGolden(f, "reply-")
	addGolden(f, "exception-")
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, b, func() {
			content, err := thrift.ReadFrame(bytes.NewReader(b), MaxFrame)
			if err != nil {
				return
			}
			msg, err := thrift.ParseMessage(content)
			if err != nil {
				return
			}
			served(t, GetLeader, msg, content)
			served(t, GetSupervisorAssignments, msg, content)
			served(t, SendSupervisorWorkerHeartbeats, msg, content)
			served(t, GetBlobMeta, msg, content)
			served(t, BeginBlobDownload, msg, content)
			served(t, DownloadBlobChunk, msg, content)
			served(t, IsRemoteBlobExists, msg, content)
			served(t, GetTopologyConf, msg, content)
			served(t, SendSupervisorAssignments, msg, content)
			served(t, GetLocalAssignmentForStorm, msg, content)
			served(t, SendSupervisorWorkerHeartbeat, msg, content)
		})
	})
}
