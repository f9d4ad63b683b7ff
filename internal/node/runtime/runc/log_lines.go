package runc

import "bytes"

// logBuffer is longer than any record of conmon's, which reads 8 KiB at a time.
const logBuffer = 32 << 10

// logLines makes lines of conmon's records. A record is a time, the name of the
// stream, F or P, and the text: of a line that P ends, the next record goes on
// with the text.
type logLines struct {
	timestamps bool
	// skip is how many lines are left out; all of them if it is negative.
	skip int64

	out bytes.Buffer
	// count is the number of lines that have begun.
	count int64
	// begun is a record whose end is not there yet, and inside tells that the
	// last whole one did not end its line.
	begun  []byte
	inside bool
}

// add takes a record, or what there is of it. One that is longer than conmon's
// are is taken for text.
func (s *logLines) add(record []byte) {
	whole := bytes.HasSuffix(record, []byte("\n"))
	if !whole && len(s.begun)+len(record) < logBuffer {
		s.begun = append(s.begun, record...)
		return
	}
	if len(s.begun) > 0 {
		record = append(s.begun, record...)
		s.begun = nil
	}
	time, text, ends := parseRecord(record)
	if !s.inside {
		s.count++
	}
	starts := !s.inside
	s.inside = !ends
	if s.skip < 0 || s.count <= s.skip {
		return
	}
	if starts && s.timestamps && len(time) > 0 {
		s.out.Write(time)
		s.out.WriteByte(' ')
	}
	s.out.Write(text)
}

// parseRecord takes a record apart; one that is not conmon's is all text.
func parseRecord(record []byte) (time, text []byte, ends bool) {
	fields := bytes.SplitN(record, []byte(" "), 4)
	if len(fields) == 4 && len(fields[2]) == 1 {
		switch fields[2][0] {
		case 'F':
			return fields[0], fields[3], true
		case 'P':
			return fields[0], bytes.TrimSuffix(fields[3], []byte("\n")), false
		}
	}
	return nil, record, bytes.HasSuffix(record, []byte("\n"))
}
