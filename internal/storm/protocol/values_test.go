package protocol

import (
	"fmt"
	"math"

	"github.com/stormcell/stormcell/internal/storm/thrift"
)

// The values of hack/thrift/Golden.java.

const (
	topology = "wc-1-1796115640"
	node     = "a-10.0.0.1"
	awkward  = "\x00 /\u00e9\u4e16\U0001f329\ufffd\"\n"
)

func resources() WorkerResources {
	return WorkerResources{
		MemOnHeap: new(768.0), MemOffHeap: new(0.0), CPU: new(300.5),
		SharedMemOnHeap: new(1e-300), SharedMemOffHeap: new(math.MaxFloat64),
		Resources:       map[string]float64{"gpu.count": 1, "network.resource.units": 0.1},
		SharedResources: map[string]float64{"gpu.count": -0.5},
	}
}

func assignment() Assignment {
	return Assignment{
		MasterCodeDir:         "/var/storm/nimbus/stormdist/wc-1-1796115640",
		NodeHost:              map[string]string{node: "node-1", "b-10.0.0.2": "node-2"},
		ExecutorNodePort:      map[Executor]NodeInfo{{1, 1}: Slot(node, 6700), {2, 3}: Slot("b-10.0.0.2", 6701)},
		ExecutorStartTimeSecs: map[Executor]int64{{1, 1}: 1796115650, {2, 3}: 1796115651},
		WorkerResources:       map[NodeInfo]WorkerResources{Slot(node, 6700): resources(), Slot("b-10.0.0.2", 6701): {}},
		TotalSharedOffHeap:    map[string]float64{node: 12.5},
		Owner:                 new("storm"),
	}
}

// defaults is an Assignment that Java made and set nothing of.
func defaults(dir string) Assignment {
	return Assignment{
		MasterCodeDir: dir, NodeHost: map[string]string{}, ExecutorNodePort: map[Executor]NodeInfo{},
		ExecutorStartTimeSecs: map[Executor]int64{}, WorkerResources: map[NodeInfo]WorkerResources{}, TotalSharedOffHeap: map[string]float64{},
	}
}

func awkwardAssignment() Assignment {
	a := defaults(awkward)
	a.NodeHost = map[string]string{"": awkward, awkward: ""}
	a.ExecutorNodePort = map[Executor]NodeInfo{{-1, -1}: Slot(awkward, -1), {math.MinInt64, math.MaxInt64}: Slot("", math.MaxInt64)}
	a.ExecutorStartTimeSecs = map[Executor]int64{{0, 0}: math.MinInt64}
	a.WorkerResources = map[NodeInfo]WorkerResources{
		Slot(awkward, math.MinInt64): {CPU: new(math.Inf(1)), MemOnHeap: new(math.SmallestNonzeroFloat64), Resources: map[string]float64{}},
	}
	a.Owner = new("")
	return a
}

func bigAssignment() Assignment {
	a := defaults("big")
	for i := int64(1); i <= 300; i++ {
		a.ExecutorNodePort[Executor{i, i}] = Slot(fmt.Sprintf("node-%d", i%20), 6700+i%4)
	}
	return a
}

func assignments() SupervisorAssignments {
	return SupervisorAssignments{Assignments: map[string]Assignment{topology: assignment(), "": defaults("defaults")}}
}

func supervisor() SupervisorInfo {
	return SupervisorInfo{
		TimeSecs: 1796115640, Hostname: "node-1", AssignmentID: node,
		UsedPorts: []int64{6700}, Meta: []int64{6700, 6701, 6702, 6703},
		SchedulerMeta: map[string]string{"rack": "r1", awkward: ""},
		UptimeSecs:    86400, Version: "2.8.3",
		ResourcesMap: map[string]float64{"cpu.pcore.percent": 400, "memory.mb": 4096},
		ServerPort:   new(int32(6628)),
	}
}

func heartbeat() SupervisorWorkerHeartbeat {
	return SupervisorWorkerHeartbeat{StormID: topology, Executors: []ExecutorInfo{{-1, -1}, {1, 4}}, TimeSecs: 1796115640}
}

func base() StormBase {
	return StormBase{
		Name: "wc", Status: Rebalancing, NumWorkers: 2,
		ComponentExecutors: map[string]int32{"sentences": 1, "count": math.MaxInt32},
		LaunchTimeSecs:     new(int32(1796115640)), Owner: new("storm"),
		ActionOptions: &TopologyActionOptions{Rebalance: &RebalanceOptions{
			WaitSecs: new(int32(0)), NumWorkers: new(int32(3)), NumExecutors: map[string]int32{"count": 4},
			TopologyResourcesOverrides: map[string]map[string]float64{"count": {"cpu.pcore.percent": 50}, "split": {}},
			TopologyConfOverrides:      new("{}"), Principal: new("user@REALM"),
		}},
		PrevStatus:     new(Active),
		ComponentDebug: map[string]DebugOptions{"count": {Enable: new(true), SamplingPct: new(0.1)}, "split": {Enable: new(false)}, "none": {}},
		Principal:      new("user@REALM"), TopologyVersion: new("1"),
	}
}

func statistics() ClusterWorkerHeartbeat {
	in := GlobalStreamID{ComponentID: "sentences", StreamID: "default"}
	sent := map[string]map[string]int64{":all-time": {"default": 7}, "600": {}}
	counts := map[string]map[GlobalStreamID]int64{":all-time": {in: 7}}
	times := map[string]map[GlobalStreamID]float64{":all-time": {in: 0.25}}
	bolt := &BoltStats{Acked: counts, Failed: map[string]map[GlobalStreamID]int64{}, ProcessMsAvg: times, Executed: counts, ExecuteMsAvg: times}
	spout := &SpoutStats{Acked: sent, Failed: sent, CompleteMsAvg: map[string]map[string]float64{}}
	none := map[string]map[string]int64{}
	return ClusterWorkerHeartbeat{
		StormID: topology, TimeSecs: 1796115640, UptimeSecs: 60,
		ExecutorStats: map[ExecutorInfo]ExecutorStats{
			{1, 1}: {Emitted: none, Transferred: none, Specific: ExecutorSpecificStats{Spout: spout}, Rate: 1},
			{2, 3}: {Emitted: sent, Transferred: sent, Specific: ExecutorSpecificStats{Bolt: bolt}, Rate: 0.05},
		},
	}
}

// goldens are the values in the order of Golden.java.
func goldens() []golden {
	return []golden{
		raw("assignment", assignment()),
		raw("assignment-minimal", Assignment{}),
		raw("assignment-defaults", defaults("defaults")),
		raw("assignment-awkward", awkwardAssignment()),
		raw("assignment-big", bigAssignment()),
		znode("znode-assignment", assignment()),
		raw("supervisor", supervisor()),
		raw("supervisor-minimal", SupervisorInfo{TimeSecs: math.MinInt64, UsedPorts: []int64{}, Meta: []int64{}, ResourcesMap: map[string]float64{}}),
		znode("znode-supervisor", supervisor()),
		raw("assignments", assignments()),
		raw("assignments-minimal", SupervisorAssignments{Assignments: map[string]Assignment{}}),
		raw("base", base()),
		raw("base-killed", StormBase{Status: Killed, NumWorkers: math.MinInt32, ActionOptions: &TopologyActionOptions{Kill: &KillOptions{WaitSecs: new(int32(30))}}}),
		raw("base-minimal", StormBase{Name: "wc", Status: Inactive}),
		znode("znode-base", base()),
		znode("znode-profile", ProfileRequest{NodeInfo: Slot("node-1", 6700), Action: JVMRestart, TimeStamp: new(int64(1796115640000))}),
		raw("profile-minimal", ProfileRequest{NodeInfo: Slot("", 0)}),
		raw("statistics", statistics()),
		znode("znode-statistics", statistics()),
		raw("heartbeats", SupervisorWorkerHeartbeats{SupervisorID: node, Heartbeats: []SupervisorWorkerHeartbeat{
			heartbeat(), {Executors: []ExecutorInfo{}, TimeSecs: math.MinInt32},
		}}),
		raw("heartbeats-minimal", SupervisorWorkerHeartbeats{Heartbeats: []SupervisorWorkerHeartbeat{}}),
		readOnly(znode("znode-topology", StormCode{
			DependencyJars: []string{"dep-a.jar"}, DependencyArtifacts: []string{}, StormVersion: new("2.8.3"), JDKVersion: new("17"),
		})),

		call("call-leader", GetLeader, 1, NoArgs{}),
		call("call-assignments", GetSupervisorAssignments, 0, NodeArgs{Node: node}),
		call("call-heartbeats", SendSupervisorWorkerHeartbeats, -1, HeartbeatsArgs{Heartbeats: SupervisorWorkerHeartbeats{
			SupervisorID: node, Heartbeats: []SupervisorWorkerHeartbeat{heartbeat()},
		}}),
		call("call-meta", GetBlobMeta, math.MaxInt32, KeyArgs{Key: "wc-1-1796115640-stormjar.jar"}),
		call("call-download", BeginBlobDownload, 2, KeyArgs{Key: awkward}),
		call("call-chunk", DownloadBlobChunk, 3, SessionArgs{Session: "7f0c"}),
		call("call-exists", IsRemoteBlobExists, 4, KeyArgs{Key: "k"}),
		call("call-conf", GetTopologyConf, 5, TopologyArgs{ID: topology}),
		call("call-push", SendSupervisorAssignments, 6, AssignmentsArgs{Assignments: assignments()}),
		call("call-local", GetLocalAssignmentForStorm, 7, TopologyArgs{ID: topology}),
		call("call-heartbeat", SendSupervisorWorkerHeartbeat, 8, HeartbeatArgs{Heartbeat: heartbeat()}),

		reply("reply-leader", GetLeader, GetLeaderResult{Success: &NimbusSummary{
			Host: "nimbus-1", Port: 6627, UptimeSecs: 60, IsLeader: true, Version: "2.8.3", TLSPort: new(int32(6626)),
		}}, nil),
		reply("reply-leader-minimal", GetLeader, GetLeaderResult{Success: &NimbusSummary{}}, nil),
		reply("reply-assignments", GetSupervisorAssignments, GetSupervisorAssignmentsResult{Success: new(assignments())}, nil),
		reply("reply-assignments-null", GetSupervisorAssignments, GetSupervisorAssignmentsResult{}, thrift.ErrNoAnswer),
		reply("reply-heartbeats", SendSupervisorWorkerHeartbeats, VoidResult{}, nil),
		reply("reply-meta", GetBlobMeta, GetBlobMetaResult{Success: &ReadableBlobMeta{
			Settable: SettableBlobMeta{
				ACL: []AccessControl{{Type: 2, Name: new("storm"), Access: 7}, {Type: 1, Access: 1}}, ReplicationFactor: new(int32(1)),
			},
			Version: -42,
		}}, nil),
		reply("reply-meta-absent", GetBlobMeta, GetBlobMetaResult{KeyNotFound: &KeyNotFoundError{Msg: "k"}}, &KeyNotFoundError{Msg: "k"}),
		reply("reply-download", BeginBlobDownload, BeginBlobDownloadResult{Success: &BeginDownloadResult{
			Version: -42, Session: "7f0c", DataSize: new(int64(1 << 40)),
		}}, nil),
		reply("reply-chunk", DownloadBlobChunk, DownloadBlobChunkResult{Success: []byte{0, 255, 127, 128}}, nil),
		reply("reply-chunk-end", DownloadBlobChunk, DownloadBlobChunkResult{Success: []byte{}}, nil),
		reply("reply-exists", IsRemoteBlobExists, IsRemoteBlobExistsResult{Success: new(false)}, nil),
		reply("reply-conf", GetTopologyConf, GetTopologyConfResult{Success: new(`{"a":1}`)}, nil),
		reply("reply-conf-dead", GetTopologyConf, GetTopologyConfResult{NotAlive: &NotAliveError{Msg: "wc"}}, &NotAliveError{Msg: "wc"}),
		reply("reply-push", SendSupervisorAssignments, VoidResult{}, nil),
		reply("reply-push-denied", SendSupervisorAssignments, VoidResult{Authorization: &AuthorizationError{Msg: awkward}},
			&AuthorizationError{Msg: awkward}),
		reply("reply-local", GetLocalAssignmentForStorm, GetLocalAssignmentResult{Success: new(assignment())}, nil),
		reply("reply-local-dead", GetLocalAssignmentForStorm, GetLocalAssignmentResult{NotAlive: &NotAliveError{Msg: "wc"}}, &NotAliveError{Msg: "wc"}),
		reply("reply-heartbeat", SendSupervisorWorkerHeartbeat, HeartbeatResult{}, nil),
		reply("reply-heartbeat-dead", SendSupervisorWorkerHeartbeat, HeartbeatResult{NotAlive: &NotAliveError{Msg: "wc"}}, &NotAliveError{Msg: "wc"}),
		exception("exception-method"),
	}
}
