// Package protocol has what Storm's daemons and workers say to each other: the
// structures of storm.thrift, the methods of Nimbus and of a supervisor, and the
// content of znodes. The field ids are those of Storm 2.8.
//
// The bytes are those of Java's own classes, in both directions: testdata has what
// they wrote, and what they read and found equal. hack/thrift/golden.sh makes and
// checks these files.
package protocol

// MaxFrame is the longest frame, in bytes, that Nimbus, supervisors and workers
// accept, unless nimbus.thrift.max_buffer_size or supervisor.thrift.max_buffer_size
// of their configuration is another one.
const MaxFrame = 1 << 20

// Executor is the first and the last task of an executor. The executor of the
// worker itself is {-1, -1}.
type Executor [2]int64

// ExecutorInfo is an Executor as heartbeats have it.
type ExecutorInfo struct {
	TaskStart int32 `thrift:"1"`
	TaskEnd   int32 `thrift:"2"`
}

// NodeInfo is a slot: a supervisor and a port. ProfileRequest has the
// supervisor's host name as its node instead of the id.
type NodeInfo struct {
	Node string `thrift:"1"`
	// Port is a set in Thrift, and always has one element.
	Port [1]int64 `thrift:"2,set"`
}

// Slot returns the NodeInfo of a port.
func Slot(node string, port int64) NodeInfo { return NodeInfo{Node: node, Port: [1]int64{port}} }

// Assignment is which workers of a topology run where.
type Assignment struct {
	MasterCodeDir string `thrift:"1"`
	// NodeHost has the host name of each supervisor, by its id.
	NodeHost              map[string]string            `thrift:"2"`
	ExecutorNodePort      map[Executor]NodeInfo        `thrift:"3"`
	ExecutorStartTimeSecs map[Executor]int64           `thrift:"4"`
	WorkerResources       map[NodeInfo]WorkerResources `thrift:"5"`
	// TotalSharedOffHeap is memory in MB that the topology's workers on a node
	// share, by the supervisor's id.
	TotalSharedOffHeap map[string]float64 `thrift:"6"`
	Owner              *string            `thrift:"7"`
}

// WorkerResources is what a worker may use: memory in MB, CPU in hundredths of a
// core. What is unset is 0.
type WorkerResources struct {
	MemOnHeap        *float64           `thrift:"1"`
	MemOffHeap       *float64           `thrift:"2"`
	CPU              *float64           `thrift:"3"`
	SharedMemOnHeap  *float64           `thrift:"4"`
	SharedMemOffHeap *float64           `thrift:"5"`
	Resources        map[string]float64 `thrift:"6"`
	SharedResources  map[string]float64 `thrift:"7"`
}

// SupervisorAssignments is all that concerns a supervisor, by topology id.
type SupervisorAssignments struct {
	// Assignments is unset for none, too.
	Assignments map[string]Assignment `thrift:"1"`
}

// SupervisorInfo is the znode by which a supervisor is known. Storm's schema
// requires less than this one, but Nimbus ends when it reads one without Meta or
// ResourcesMap, and Java's supervisor writes all that is required here.
type SupervisorInfo struct {
	TimeSecs     int64  `thrift:"1"`
	Hostname     string `thrift:"2"`
	AssignmentID string `thrift:"3"`
	// UsedPorts are the slots with a worker, for people.
	UsedPorts []int64 `thrift:"4,required"`
	// Meta has the ports of all slots.
	Meta          []int64            `thrift:"5,required"`
	SchedulerMeta map[string]string  `thrift:"6"`
	UptimeSecs    int64              `thrift:"7"`
	Version       string             `thrift:"8"`
	ResourcesMap  map[string]float64 `thrift:"9,required"`
	// ServerPort is where Nimbus sends assignments to.
	ServerPort *int32 `thrift:"10"`
}

// SupervisorWorkerHeartbeat says that a worker lives. The worker is known by its
// topology and executors.
type SupervisorWorkerHeartbeat struct {
	StormID   string         `thrift:"1"`
	Executors []ExecutorInfo `thrift:"2,required"`
	// TimeSecs is an i64 in Storm 3.
	TimeSecs int32 `thrift:"3"`
}

// SupervisorWorkerHeartbeats is all heartbeats of a supervisor.
type SupervisorWorkerHeartbeats struct {
	SupervisorID string                      `thrift:"1"`
	Heartbeats   []SupervisorWorkerHeartbeat `thrift:"2,required"`
}

// NimbusSummary is a Nimbus.
type NimbusSummary struct {
	Host       string `thrift:"1"`
	Port       int32  `thrift:"2"`
	UptimeSecs int32  `thrift:"3"`
	IsLeader   bool   `thrift:"4"`
	Version    string `thrift:"5"`
	TLSPort    *int32 `thrift:"6"`
}

// ReadableBlobMeta is the version of a blob, which is compared for equality
// alone, and who may read it.
type ReadableBlobMeta struct {
	Settable SettableBlobMeta `thrift:"1"`
	Version  int64            `thrift:"2"`
}

// SettableBlobMeta is what the owner of a blob chooses.
type SettableBlobMeta struct {
	ACL               []AccessControl `thrift:"1,required"`
	ReplicationFactor *int32          `thrift:"2"`
}

// AccessControl is what somebody may do with a blob: 1 read, 2 write, 4 admin.
type AccessControl struct {
	// Type is 1 for others, 2 for a user.
	Type   int32   `thrift:"1"`
	Name   *string `thrift:"2"`
	Access int32   `thrift:"3"`
}

// BeginDownloadResult is a download that has begun.
type BeginDownloadResult struct {
	Version  int64  `thrift:"1"`
	Session  string `thrift:"2"`
	DataSize *int64 `thrift:"3"`
}
