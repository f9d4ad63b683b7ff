package protocol

// ClusterWorkerHeartbeat is the znode with a worker's statistics.
type ClusterWorkerHeartbeat struct {
	StormID       string                         `thrift:"1"`
	ExecutorStats map[ExecutorInfo]ExecutorStats `thrift:"2,required"`
	TimeSecs      int32                          `thrift:"3"`
	UptimeSecs    int32                          `thrift:"4"`
}

// ExecutorStats has numbers by window and stream.
type ExecutorStats struct {
	Emitted     map[string]map[string]int64 `thrift:"1,required"`
	Transferred map[string]map[string]int64 `thrift:"2,required"`
	Specific    ExecutorSpecificStats       `thrift:"3"`
	Rate        float64                     `thrift:"4"`
}

// ExecutorSpecificStats is a union: one of the fields is set.
type ExecutorSpecificStats struct {
	Bolt  *BoltStats  `thrift:"1"`
	Spout *SpoutStats `thrift:"2"`
}

// BoltStats has numbers by window and stream that arrives.
type BoltStats struct {
	Acked        map[string]map[GlobalStreamID]int64   `thrift:"1,required"`
	Failed       map[string]map[GlobalStreamID]int64   `thrift:"2,required"`
	ProcessMsAvg map[string]map[GlobalStreamID]float64 `thrift:"3,required"`
	Executed     map[string]map[GlobalStreamID]int64   `thrift:"4,required"`
	ExecuteMsAvg map[string]map[GlobalStreamID]float64 `thrift:"5,required"`
}

// SpoutStats has numbers by window and stream.
type SpoutStats struct {
	Acked         map[string]map[string]int64   `thrift:"1,required"`
	Failed        map[string]map[string]int64   `thrift:"2,required"`
	CompleteMsAvg map[string]map[string]float64 `thrift:"3,required"`
}

// GlobalStreamID is a stream of a component.
type GlobalStreamID struct {
	ComponentID string `thrift:"1"`
	StreamID    string `thrift:"2"`
}
