package runtime

import "testing"

func TestExitOf(t *testing.T) {
	for code, signal := range map[int]int{0: 0, 7: 0, 128: 0, 129: 1, 137: 9, 143: 15, 192: 64, 193: 0, 255: 0, UnknownCode: 0} {
		if e := ExitOf(code); e.Code != code || e.Signal != signal {
			t.Errorf("ExitOf(%d) = %+v, want signal %d", code, e, signal)
		}
	}
}
