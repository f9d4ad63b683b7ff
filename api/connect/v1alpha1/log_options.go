package v1alpha1

import (
	"fmt"
	"net/url"
	"strconv"
)

// MaxTailLines is the largest LogOptions.TailLines. Without TailLines, all that the
// node has kept is sent.
const MaxTailLines = 1_000_000

// LogOptions select a part of a worker's log. They are the query of a request for
// it.
type LogOptions struct {
	// Follow sends new lines until the container has ended.
	Follow bool
	// Previous selects the attempt before the current one.
	Previous bool
	// Timestamps puts the time of each line, as RFC 3339, and a blank before it.
	Timestamps bool
	// TailLines is the number of lines from the end to send; nil for all.
	TailLines *int64
}

// Query returns the options as the query that ParseLogOptions reads.
func (o LogOptions) Query() url.Values {
	q := url.Values{}
	for name, set := range o.switches() {
		if *set {
			q.Set(name, "true")
		}
	}
	if o.TailLines != nil {
		q.Set("tailLines", strconv.FormatInt(*o.TailLines, 10))
	}
	return q
}

// ParseLogOptions reads the query of a request. An error names the parameter and its
// valid values. Parameters that Kubernetes' clients add for the API server are
// ignored.
func ParseLogOptions(q url.Values) (LogOptions, error) {
	var o LogOptions
	switches := o.switches()
	for name, values := range q {
		value := values[len(values)-1]
		if set, ok := switches[name]; ok {
			b, err := strconv.ParseBool(value)
			if err != nil {
				return o, fmt.Errorf("%s is %.40q: give true or false", name, value)
			}
			*set = b
			continue
		}
		if name == "timeout" {
			continue
		}
		if name != "tailLines" {
			return o, fmt.Errorf("unknown parameter %.40q: give follow, previous, timestamps or tailLines", name)
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 || n > MaxTailLines {
			return o, fmt.Errorf("tailLines is %.40q: give a number from 0 to %d", value, MaxTailLines)
		}
		o.TailLines = &n
	}
	return o, nil
}

func (o *LogOptions) switches() map[string]*bool {
	return map[string]*bool{"follow": &o.Follow, "previous": &o.Previous, "timestamps": &o.Timestamps}
}
