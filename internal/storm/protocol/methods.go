package protocol

import "github.com/stormcell/stormcell/internal/storm/thrift"

// The methods of Nimbus that supervisors call.
var (
	GetLeader                      = thrift.Method[NoArgs, GetLeaderResult]{Name: "getLeader"}
	GetSupervisorAssignments       = thrift.Method[NodeArgs, GetSupervisorAssignmentsResult]{Name: "getSupervisorAssignments"}
	SendSupervisorWorkerHeartbeats = thrift.Method[HeartbeatsArgs, VoidResult]{Name: "sendSupervisorWorkerHeartbeats"}
	GetBlobMeta                    = thrift.Method[KeyArgs, GetBlobMetaResult]{Name: "getBlobMeta"}
	BeginBlobDownload              = thrift.Method[KeyArgs, BeginBlobDownloadResult]{Name: "beginBlobDownload"}
	DownloadBlobChunk              = thrift.Method[SessionArgs, DownloadBlobChunkResult]{Name: "downloadBlobChunk"}
	IsRemoteBlobExists             = thrift.Method[KeyArgs, IsRemoteBlobExistsResult]{Name: "isRemoteBlobExists"}
	GetTopologyConf                = thrift.Method[TopologyArgs, GetTopologyConfResult]{Name: "getTopologyConf"}
)

// The methods of a supervisor. Nimbus has the last one, too, for workers that do
// not reach their supervisor.
var (
	SendSupervisorAssignments     = thrift.Method[AssignmentsArgs, VoidResult]{Name: "sendSupervisorAssignments"}
	GetLocalAssignmentForStorm    = thrift.Method[TopologyArgs, GetLocalAssignmentResult]{Name: "getLocalAssignmentForStorm"}
	SendSupervisorWorkerHeartbeat = thrift.Method[HeartbeatArgs, HeartbeatResult]{Name: "sendSupervisorWorkerHeartbeat"}
)

// NoArgs has the arguments of a method without any.
type NoArgs struct{}

// NodeArgs names a supervisor by its id.
type NodeArgs struct {
	Node string `thrift:"1"`
}

// TopologyArgs names a topology.
type TopologyArgs struct {
	ID string `thrift:"1"`
}

// KeyArgs names a blob.
type KeyArgs struct {
	Key string `thrift:"1"`
}

// SessionArgs names a download.
type SessionArgs struct {
	Session string `thrift:"1"`
}

// HeartbeatsArgs has the heartbeats of a supervisor.
type HeartbeatsArgs struct {
	Heartbeats SupervisorWorkerHeartbeats `thrift:"1"`
}

// HeartbeatArgs has the heartbeat of a worker.
type HeartbeatArgs struct {
	Heartbeat SupervisorWorkerHeartbeat `thrift:"1"`
}

// AssignmentsArgs has all that concerns a supervisor.
type AssignmentsArgs struct {
	Assignments SupervisorAssignments `thrift:"1"`
}

// VoidResult is the result of a method that has no value.
type VoidResult struct {
	Authorization *AuthorizationError `thrift:"1"`
}

// GetLeaderResult names the leader among the Nimbuses.
type GetLeaderResult struct {
	Success       *NimbusSummary      `thrift:"0"`
	Authorization *AuthorizationError `thrift:"1"`
}

// GetSupervisorAssignmentsResult has no value while Nimbus does not know, which is not "none".
type GetSupervisorAssignmentsResult struct {
	Success       *SupervisorAssignments `thrift:"0"`
	Authorization *AuthorizationError    `thrift:"1"`
}

// GetBlobMetaResult is the result of getBlobMeta.
type GetBlobMetaResult struct {
	Success       *ReadableBlobMeta   `thrift:"0"`
	Authorization *AuthorizationError `thrift:"1"`
	KeyNotFound   *KeyNotFoundError   `thrift:"2"`
}

// BeginBlobDownloadResult is the result of beginBlobDownload.
type BeginBlobDownloadResult struct {
	Success       *BeginDownloadResult `thrift:"0"`
	Authorization *AuthorizationError  `thrift:"1"`
	KeyNotFound   *KeyNotFoundError    `thrift:"2"`
}

// DownloadBlobChunkResult has the next bytes of a blob, and at the end none.
type DownloadBlobChunkResult struct {
	Success       []byte              `thrift:"0"`
	Authorization *AuthorizationError `thrift:"1"`
}

// IsRemoteBlobExistsResult is the result of isRemoteBlobExists.
type IsRemoteBlobExistsResult struct {
	Success       *bool               `thrift:"0"`
	Authorization *AuthorizationError `thrift:"1"`
}

// GetTopologyConfResult has the whole configuration of a topology as JSON.
type GetTopologyConfResult struct {
	Success       *string             `thrift:"0"`
	NotAlive      *NotAliveError      `thrift:"1"`
	Authorization *AuthorizationError `thrift:"2"`
}

// GetLocalAssignmentResult has the whole Assignment, of all nodes.
type GetLocalAssignmentResult struct {
	Success       *Assignment         `thrift:"0"`
	NotAlive      *NotAliveError      `thrift:"1"`
	Authorization *AuthorizationError `thrift:"2"`
}

// HeartbeatResult is the result of sendSupervisorWorkerHeartbeat.
type HeartbeatResult struct {
	Authorization *AuthorizationError `thrift:"1"`
	NotAlive      *NotAliveError      `thrift:"2"`
}

// NotAliveError is a NotAliveException: it says that no topology has the id.
type NotAliveError struct {
	Msg string `thrift:"1"`
}

func (e *NotAliveError) Error() string { return "there is no such topology: " + e.Msg }

// KeyNotFoundError is a KeyNotFoundException: it says that no blob has the key.
type KeyNotFoundError struct {
	Msg string `thrift:"1"`
}

func (e *KeyNotFoundError) Error() string { return "there is no such blob: " + e.Msg }

// AuthorizationError is an AuthorizationException: it says that the caller may not do this.
type AuthorizationError struct {
	Msg string `thrift:"1"`
}

func (e *AuthorizationError) Error() string { return "not allowed: " + e.Msg }
