package protocol

import "strconv"

// TopologyStatus is whether a topology works.
type TopologyStatus int32

// The states of a topology.
const (
	Active      TopologyStatus = 1
	Inactive    TopologyStatus = 2
	Rebalancing TopologyStatus = 3
	Killed      TopologyStatus = 4
)

func (s TopologyStatus) String() string {
	names := map[TopologyStatus]string{Active: "ACTIVE", Inactive: "INACTIVE", Rebalancing: "REBALANCING", Killed: "KILLED"}
	if name, ok := names[s]; ok {
		return name
	}
	return strconv.Itoa(int(s))
}

// StormBase is a topology as Nimbus keeps it.
type StormBase struct {
	Name               string           `thrift:"1"`
	Status             TopologyStatus   `thrift:"2"`
	NumWorkers         int32            `thrift:"3"`
	ComponentExecutors map[string]int32 `thrift:"4"`
	LaunchTimeSecs     *int32           `thrift:"5"`
	Owner              *string          `thrift:"6"`
	// ActionOptions is set while a topology is killed or rebalanced.
	ActionOptions   *TopologyActionOptions  `thrift:"7"`
	PrevStatus      *TopologyStatus         `thrift:"8"`
	ComponentDebug  map[string]DebugOptions `thrift:"9"`
	Principal       *string                 `thrift:"10"`
	TopologyVersion *string                 `thrift:"11"`
}

// TopologyActionOptions is a union: one of the fields is set.
type TopologyActionOptions struct {
	Kill      *KillOptions      `thrift:"1"`
	Rebalance *RebalanceOptions `thrift:"2"`
}

// KillOptions says how a topology ends.
type KillOptions struct {
	WaitSecs *int32 `thrift:"1"`
}

// RebalanceOptions says how a topology is spread again.
type RebalanceOptions struct {
	WaitSecs                   *int32                        `thrift:"1"`
	NumWorkers                 *int32                        `thrift:"2"`
	NumExecutors               map[string]int32              `thrift:"3"`
	TopologyResourcesOverrides map[string]map[string]float64 `thrift:"4"`
	TopologyConfOverrides      *string                       `thrift:"5"`
	Principal                  *string                       `thrift:"6"`
}

// DebugOptions says how many tuples of a component are logged.
type DebugOptions struct {
	Enable      *bool    `thrift:"1"`
	SamplingPct *float64 `thrift:"2"`
}

// StormCode is what a node reads of a StormTopology, the content of
// stormcode.ser. It is not all of it: do not write it.
type StormCode struct {
	DependencyJars      []string `thrift:"5"`
	DependencyArtifacts []string `thrift:"6"`
	StormVersion        *string  `thrift:"7"`
	JDKVersion          *string  `thrift:"8"`
}

// ProfileAction is what somebody asks of a worker's JVM.
type ProfileAction int32

// The actions of a ProfileRequest.
const (
	ProfileStop  ProfileAction = 0
	ProfileStart ProfileAction = 1
	ProfileDump  ProfileAction = 2
	JMapDump     ProfileAction = 3
	JStackDump   ProfileAction = 4
	JVMRestart   ProfileAction = 5
)

func (a ProfileAction) String() string {
	names := []string{"JPROFILE_STOP", "JPROFILE_START", "JPROFILE_DUMP", "JMAP_DUMP", "JSTACK_DUMP", "JVM_RESTART"}
	if a >= 0 && int(a) < len(names) {
		return names[a]
	}
	return strconv.Itoa(int(a))
}

// ProfileRequest is a znode with an action for a worker.
type ProfileRequest struct {
	NodeInfo NodeInfo      `thrift:"1"`
	Action   ProfileAction `thrift:"2"`
	// TimeStamp is in milliseconds; ProfileStop ends the recording then.
	TimeStamp *int64 `thrift:"3"`
}
