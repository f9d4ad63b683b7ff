import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.storm.generated.*;
import org.apache.storm.serialization.GzipThriftSerializationDelegate;
import org.apache.storm.thrift.TApplicationException;
import org.apache.storm.thrift.TBase;
import org.apache.storm.thrift.TDeserializer;
import org.apache.storm.thrift.TSerializable;
import org.apache.storm.thrift.TSerializer;
import org.apache.storm.thrift.protocol.TBinaryProtocol;
import org.apache.storm.thrift.protocol.TMessage;
import org.apache.storm.thrift.transport.TIOStreamTransport;
import org.apache.storm.thrift.transport.layered.TFramedTransport;

/**
 * Writes the values of golden_test.go with Storm's own classes, or reads what
 * the codec in Go wrote and compares it with these values.
 */
public class Golden {
    /** Structs by their name in the file; "znode-" are packed as in a znode. */
    static final Map<String, TBase<?, ?>> STRUCTS = new LinkedHashMap<>();

    /** A message as its header and its arguments, its result or its exception. */
    record Message(String method, byte kind, int seq, TSerializable body) {}

    static final byte CALL = 1;
    static final byte REPLY = 2;
    static final byte EXCEPTION = 3;
    static final String AWKWARD = "\u0000 /\u00e9\u4e16\ud83c\udf29\ufffd\"\n";
    static final Map<String, Message> MESSAGES = new LinkedHashMap<>();

    /** A map of keys and values in this order, so that the files are always the same. */
    @SuppressWarnings("unchecked")
    static <K, V> Map<K, V> map(Object... entries) {
        Map<K, V> map = new LinkedHashMap<>();
        for (int i = 0; i < entries.length; i += 2) {
            map.put((K) entries[i], (V) entries[i + 1]);
        }
        return map;
    }

    static NodeInfo slot(String node, long port) {
        return new NodeInfo(node, Set.of(port));
    }

    static List<Long> executor(long first, long last) {
        return Arrays.asList(first, last);
    }

    static WorkerResources resources() {
        WorkerResources r = new WorkerResources();
        r.set_mem_on_heap(768);
        r.set_mem_off_heap(0);
        r.set_cpu(300.5);
        r.set_shared_mem_on_heap(1e-300);
        r.set_shared_mem_off_heap(Double.MAX_VALUE);
        r.set_resources(map("gpu.count", 1.0, "network.resource.units", 0.1));
        r.set_shared_resources(map("gpu.count", -0.5));
        return r;
    }

    static Assignment assignment() {
        Assignment a = new Assignment("/var/storm/nimbus/stormdist/wc-1-1796115640");
        a.set_node_host(map("a-10.0.0.1", "node-1", "b-10.0.0.2", "node-2"));
        a.set_executor_node_port(map(executor(1, 1), slot("a-10.0.0.1", 6700), executor(2, 3), slot("b-10.0.0.2", 6701)));
        a.set_executor_start_time_secs(map(executor(1, 1), 1796115650L, executor(2, 3), 1796115651L));
        a.set_worker_resources(map(slot("a-10.0.0.1", 6700), resources(), slot("b-10.0.0.2", 6701), new WorkerResources()));
        a.set_total_shared_off_heap(map("a-10.0.0.1", 12.5));
        a.set_owner("storm");
        return a;
    }

    static Assignment minimalAssignment() {
        Assignment a = new Assignment("");
        a.unset_node_host();
        a.unset_executor_node_port();
        a.unset_executor_start_time_secs();
        a.unset_worker_resources();
        a.unset_total_shared_off_heap();
        return a;
    }

    static Assignment awkwardAssignment() {
        Assignment a = new Assignment(AWKWARD);
        a.set_node_host(map("", AWKWARD, AWKWARD, ""));
        a.set_executor_node_port(map(executor(-1, -1), slot(AWKWARD, -1), executor(Long.MIN_VALUE, Long.MAX_VALUE), slot("", Long.MAX_VALUE)));
        a.set_executor_start_time_secs(map(executor(0, 0), Long.MIN_VALUE));
        WorkerResources r = new WorkerResources();
        r.set_cpu(Double.POSITIVE_INFINITY);
        r.set_mem_on_heap(Double.MIN_VALUE);
        r.set_resources(new HashMap<>());
        a.set_worker_resources(map(slot(AWKWARD, Long.MIN_VALUE), r));
        a.set_owner("");
        return a;
    }

    static Assignment bigAssignment() {
        Assignment a = new Assignment("big");
        Map<List<Long>, NodeInfo> ports = new HashMap<>();
        for (long i = 1; i <= 300; i++) {
            ports.put(executor(i, i), slot("node-" + i % 20, 6700 + i % 4));
        }
        a.set_executor_node_port(ports);
        return a;
    }

    static SupervisorAssignments assignments() {
        SupervisorAssignments s = new SupervisorAssignments();
        s.set_storm_assignment(map("wc-1-1796115640", assignment(), "", new Assignment("defaults")));
        return s;
    }

    static SupervisorInfo supervisor() {
        SupervisorInfo s = new SupervisorInfo(1796115640L, "node-1");
        s.set_assignment_id("a-10.0.0.1");
        s.set_used_ports(List.of(6700L));
        s.set_meta(List.of(6700L, 6701L, 6702L, 6703L));
        s.set_scheduler_meta(map("rack", "r1", AWKWARD, ""));
        s.set_uptime_secs(86400);
        s.set_version("2.8.3");
        s.set_resources_map(map("cpu.pcore.percent", 400.0, "memory.mb", 4096.0));
        s.set_server_port(6628);
        return s;
    }

    static SupervisorInfo minimalSupervisor() {
        SupervisorInfo s = new SupervisorInfo(Long.MIN_VALUE, "");
        s.set_assignment_id("");
        s.set_used_ports(new ArrayList<>());
        s.set_meta(new ArrayList<>());
        s.set_uptime_secs(0);
        s.set_version("");
        s.set_resources_map(new HashMap<>());
        return s;
    }

    static SupervisorWorkerHeartbeat heartbeat() {
        return new SupervisorWorkerHeartbeat("wc-1-1796115640", List.of(new ExecutorInfo(-1, -1), new ExecutorInfo(1, 4)), 1796115640);
    }

    static StormBase base() {
        StormBase b = new StormBase("wc", TopologyStatus.REBALANCING, 2);
        b.set_component_executors(map("sentences", 1, "count", Integer.MAX_VALUE));
        b.set_launch_time_secs(1796115640);
        b.set_owner("storm");
        RebalanceOptions o = new RebalanceOptions();
        o.set_wait_secs(0);
        o.set_num_workers(3);
        o.set_num_executors(map("count", 4));
        o.set_topology_resources_overrides(map("count", map("cpu.pcore.percent", 50.0), "split", map()));
        o.set_topology_conf_overrides("{}");
        o.set_principal("user@REALM");
        b.set_topology_action_options(TopologyActionOptions.rebalance_options(o));
        b.set_prev_status(TopologyStatus.ACTIVE);
        DebugOptions d = new DebugOptions();
        d.set_enable(true);
        d.set_samplingpct(0.1);
        DebugOptions off = new DebugOptions();
        off.set_enable(false);
        b.set_component_debug(map("count", d, "split", off, "none", new DebugOptions()));
        b.set_principal("user@REALM");
        b.set_topology_version("1");
        return b;
    }

    static StormBase killed() {
        StormBase b = new StormBase("", TopologyStatus.KILLED, Integer.MIN_VALUE);
        KillOptions k = new KillOptions();
        k.set_wait_secs(30);
        b.set_topology_action_options(TopologyActionOptions.kill_options(k));
        return b;
    }

    static ClusterWorkerHeartbeat statistics() {
        GlobalStreamId in = new GlobalStreamId("sentences", "default");
        Map<String, Map<String, Long>> sent = map(":all-time", map("default", 7L), "600", map());
        Map<String, Map<GlobalStreamId, Long>> counts = map(":all-time", map(in, 7L));
        Map<String, Map<GlobalStreamId, Double>> times = map(":all-time", map(in, 0.25));
        ExecutorStats bolt = new ExecutorStats(sent, sent, ExecutorSpecificStats.bolt(new BoltStats(counts, map(), times, counts, times)), 0.05);
        ExecutorStats spout = new ExecutorStats(map(), map(), ExecutorSpecificStats.spout(new SpoutStats(sent, sent, map())), 1);
        return new ClusterWorkerHeartbeat("wc-1-1796115640", map(new ExecutorInfo(1, 1), spout, new ExecutorInfo(2, 3), bolt), 1796115640, 60);
    }

    /** All of a topology, of which the codec in Go reads a part. */
    static StormTopology topology() {
        ComponentCommon common = new ComponentCommon(map(), map("default", new StreamInfo(List.of("word"), false)));
        ComponentObject code = ComponentObject.serialized_java(new byte[] {1, 2, 3});
        StormTopology t = new StormTopology(map("sentences", new SpoutSpec(code, common)), map("split", new Bolt(code, common)), map());
        t.set_worker_hooks(List.of(ByteBuffer.wrap(new byte[] {-1})));
        t.set_dependency_jars(List.of("dep-a.jar"));
        t.set_dependency_artifacts(List.of());
        t.set_storm_version("2.8.3");
        t.set_jdk_version("17");
        t.set_component_to_shared_memory(map("split", Set.of("m")));
        return t;
    }

    static void structs() {
        STRUCTS.put("assignment", assignment());
        STRUCTS.put("assignment-minimal", minimalAssignment());
        STRUCTS.put("assignment-defaults", new Assignment("defaults"));
        STRUCTS.put("assignment-awkward", awkwardAssignment());
        STRUCTS.put("assignment-big", bigAssignment());
        STRUCTS.put("znode-assignment", assignment());
        STRUCTS.put("supervisor", supervisor());
        STRUCTS.put("supervisor-minimal", minimalSupervisor());
        STRUCTS.put("znode-supervisor", supervisor());
        STRUCTS.put("assignments", assignments());
        STRUCTS.put("assignments-minimal", new SupervisorAssignments());
        STRUCTS.put("base", base());
        STRUCTS.put("base-killed", killed());
        STRUCTS.put("base-minimal", new StormBase("wc", TopologyStatus.INACTIVE, 0));
        STRUCTS.put("znode-base", base());
        ProfileRequest p = new ProfileRequest(slot("node-1", 6700), ProfileAction.JVM_RESTART);
        p.set_time_stamp(1796115640000L);
        STRUCTS.put("znode-profile", p);
        STRUCTS.put("profile-minimal", new ProfileRequest(slot("", 0), ProfileAction.JPROFILE_STOP));
        STRUCTS.put("statistics", statistics());
        STRUCTS.put("znode-statistics", statistics());
        STRUCTS.put("heartbeats", new SupervisorWorkerHeartbeats("a-10.0.0.1", List.of(heartbeat(), new SupervisorWorkerHeartbeat("", List.of(), Integer.MIN_VALUE))));
        STRUCTS.put("heartbeats-minimal", new SupervisorWorkerHeartbeats("", List.of()));
    }

    static void calls() {
        MESSAGES.put("call-leader", new Message("getLeader", CALL, 1, new Nimbus.getLeader_args()));
        MESSAGES.put("call-assignments", new Message("getSupervisorAssignments", CALL, 0, new Nimbus.getSupervisorAssignments_args("a-10.0.0.1")));
        MESSAGES.put("call-heartbeats", new Message("sendSupervisorWorkerHeartbeats", CALL, -1,
            new Nimbus.sendSupervisorWorkerHeartbeats_args(new SupervisorWorkerHeartbeats("a-10.0.0.1", List.of(heartbeat())))));
        MESSAGES.put("call-meta", new Message("getBlobMeta", CALL, Integer.MAX_VALUE, new Nimbus.getBlobMeta_args("wc-1-1796115640-stormjar.jar")));
        MESSAGES.put("call-download", new Message("beginBlobDownload", CALL, 2, new Nimbus.beginBlobDownload_args(AWKWARD)));
        MESSAGES.put("call-chunk", new Message("downloadBlobChunk", CALL, 3, new Nimbus.downloadBlobChunk_args("7f0c")));
        MESSAGES.put("call-exists", new Message("isRemoteBlobExists", CALL, 4, new Nimbus.isRemoteBlobExists_args("k")));
        MESSAGES.put("call-conf", new Message("getTopologyConf", CALL, 5, new Nimbus.getTopologyConf_args("wc-1-1796115640")));
        MESSAGES.put("call-push", new Message("sendSupervisorAssignments", CALL, 6, new Supervisor.sendSupervisorAssignments_args(assignments())));
        MESSAGES.put("call-local", new Message("getLocalAssignmentForStorm", CALL, 7, new Supervisor.getLocalAssignmentForStorm_args("wc-1-1796115640")));
        MESSAGES.put("call-heartbeat", new Message("sendSupervisorWorkerHeartbeat", CALL, 8, new Supervisor.sendSupervisorWorkerHeartbeat_args(heartbeat())));
    }

    static void replies() {
        NimbusSummary leader = new NimbusSummary("nimbus-1", 6627, 60, true, "2.8.3");
        leader.set_tlsPort(6626);
        MESSAGES.put("reply-leader", reply("getLeader", new Nimbus.getLeader_result(leader, null)));
        MESSAGES.put("reply-leader-minimal", reply("getLeader", new Nimbus.getLeader_result(new NimbusSummary("", 0, 0, false, ""), null)));
        MESSAGES.put("reply-assignments", reply("getSupervisorAssignments", new Nimbus.getSupervisorAssignments_result(assignments(), null)));
        MESSAGES.put("reply-assignments-null", reply("getSupervisorAssignments", new Nimbus.getSupervisorAssignments_result()));
        MESSAGES.put("reply-heartbeats", reply("sendSupervisorWorkerHeartbeats", new Nimbus.sendSupervisorWorkerHeartbeats_result()));
        AccessControl acl = new AccessControl(AccessControlType.USER, 7);
        acl.set_name("storm");
        SettableBlobMeta settable = new SettableBlobMeta(List.of(acl, new AccessControl(AccessControlType.OTHER, 1)));
        settable.set_replication_factor(1);
        MESSAGES.put("reply-meta", reply("getBlobMeta", new Nimbus.getBlobMeta_result(new ReadableBlobMeta(settable, -42), null, null)));
        MESSAGES.put("reply-meta-absent", reply("getBlobMeta", new Nimbus.getBlobMeta_result(null, null, new KeyNotFoundException("k"))));
        BeginDownloadResult begun = new BeginDownloadResult(-42, "7f0c");
        begun.set_data_size(1L << 40);
        MESSAGES.put("reply-download", reply("beginBlobDownload", new Nimbus.beginBlobDownload_result(begun, null, null)));
        MESSAGES.put("reply-chunk", reply("downloadBlobChunk", new Nimbus.downloadBlobChunk_result(ByteBuffer.wrap(new byte[] {0, -1, 127, -128}), null)));
        MESSAGES.put("reply-chunk-end", reply("downloadBlobChunk", new Nimbus.downloadBlobChunk_result(ByteBuffer.wrap(new byte[0]), null)));
        Nimbus.isRemoteBlobExists_result exists = new Nimbus.isRemoteBlobExists_result();
        exists.set_success(false);
        MESSAGES.put("reply-exists", reply("isRemoteBlobExists", exists));
        MESSAGES.put("reply-conf", reply("getTopologyConf", new Nimbus.getTopologyConf_result("{\"a\":1}", null, null)));
        MESSAGES.put("reply-conf-dead", reply("getTopologyConf", new Nimbus.getTopologyConf_result(null, new NotAliveException("wc"), null)));
        MESSAGES.put("reply-push", reply("sendSupervisorAssignments", new Supervisor.sendSupervisorAssignments_result()));
        MESSAGES.put("reply-push-denied", reply("sendSupervisorAssignments",
            new Supervisor.sendSupervisorAssignments_result(new AuthorizationException(AWKWARD))));
        MESSAGES.put("reply-local", reply("getLocalAssignmentForStorm", new Supervisor.getLocalAssignmentForStorm_result(assignment(), null, null)));
        MESSAGES.put("reply-local-dead", reply("getLocalAssignmentForStorm",
            new Supervisor.getLocalAssignmentForStorm_result(null, new NotAliveException("wc"), null)));
        MESSAGES.put("reply-heartbeat", reply("sendSupervisorWorkerHeartbeat", new Supervisor.sendSupervisorWorkerHeartbeat_result()));
        MESSAGES.put("reply-heartbeat-dead", reply("sendSupervisorWorkerHeartbeat",
            new Nimbus.sendSupervisorWorkerHeartbeat_result(null, new NotAliveException("wc"))));
        MESSAGES.put("exception-method", new Message("nothing", EXCEPTION, 9,
            new TApplicationException(TApplicationException.UNKNOWN_METHOD, "Invalid method name: 'nothing'")));
    }

    static Message reply(String method, TSerializable result) {
        return new Message(method, REPLY, 9, result);
    }

    static byte[] frame(Message m) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        TFramedTransport transport = new TFramedTransport(new TIOStreamTransport(out));
        TBinaryProtocol protocol = new TBinaryProtocol(transport);
        protocol.writeMessageBegin(new TMessage(m.method, m.kind, m.seq));
        m.body.write(protocol);
        protocol.writeMessageEnd();
        transport.flush();
        return out.toByteArray();
    }

    /** Reads a frame as Java's clients and servers do, which refuse more than 1 MiB. */
    static Message unframe(byte[] bytes, TSerializable body) throws Exception {
        TFramedTransport transport = new TFramedTransport(new TIOStreamTransport(new ByteArrayInputStream(bytes)), 1 << 20);
        TBinaryProtocol protocol = new TBinaryProtocol(transport, true, true);
        TMessage m = protocol.readMessageBegin();
        if (m.type == EXCEPTION) {
            return new Message(m.name, m.type, m.seqid, TApplicationException.readFrom(protocol));
        }
        body.read(protocol);
        protocol.readMessageEnd();
        if (transport.getBytesRemainingInBuffer() != 0) {
            throw new Exception("bytes follow the message");
        }
        return new Message(m.name, m.type, m.seqid, body);
    }

    static boolean same(Message a, Message b) {
        if (a.body instanceof TApplicationException x && b.body instanceof TApplicationException y) {
            return a.method.equals(b.method) && a.seq == b.seq && x.getType() == y.getType() && x.getMessage().equals(y.getMessage());
        }
        return a.equals(b);
    }

    static byte[] pack(String name, TBase<?, ?> v) throws Exception {
        return name.startsWith("znode-") ? new GzipThriftSerializationDelegate().serialize(v) : new TSerializer().serialize(v);
    }

    static TBase<?, ?> unpack(String name, byte[] bytes, TBase<?, ?> like) throws Exception {
        if (name.startsWith("znode-")) {
            return (TBase<?, ?>) new GzipThriftSerializationDelegate().deserialize(bytes, like.getClass());
        }
        TBase<?, ?> v = like.getClass().getDeclaredConstructor().newInstance();
        new TDeserializer().deserialize(v, bytes);
        return v;
    }

    static void write(Path file) throws Exception {
        Map<String, byte[]> written = new LinkedHashMap<>();
        for (var e : STRUCTS.entrySet()) {
            written.put(e.getKey(), pack(e.getKey(), e.getValue()));
        }
        written.put("znode-topology", pack("znode-topology", topology()));
        for (var e : MESSAGES.entrySet()) {
            written.put(e.getKey(), frame(e.getValue()));
        }
        List<String> lines = new ArrayList<>();
        written.forEach((name, bytes) -> lines.add(name + " " + Base64.getEncoder().encodeToString(bytes)));
        Files.write(file, lines);
    }

    /** What is unset may be a default for the reader, so the expected value is read, too. */
    static boolean check(String name, byte[] bytes) throws Exception {
        TBase<?, ?> want = STRUCTS.get(name);
        if (want != null) {
            return unpack(name, bytes, want).equals(unpack(name, pack(name, want), want));
        }
        Message message = MESSAGES.get(name);
        TSerializable body = message.body instanceof TBase<?, ?> b ? b.getClass().getDeclaredConstructor().newInstance() : null;
        TSerializable again = message.body instanceof TBase<?, ?> b ? b.getClass().getDeclaredConstructor().newInstance() : null;
        return same(unframe(bytes, body), unframe(frame(message), again));
    }

    static void checkAll(Path file) throws Exception {
        Set<String> missing = new TreeSet<>(STRUCTS.keySet());
        missing.addAll(MESSAGES.keySet());
        int equal = 0;
        for (String line : Files.readAllLines(file)) {
            String[] parts = line.split(" ");
            missing.remove(parts[0]);
            if (check(parts[0], Base64.getDecoder().decode(parts[1]))) {
                equal++;
            } else {
                System.err.println(parts[0] + ": Java reads another value than its own");
                System.exit(1);
            }
        }
        if (!missing.isEmpty()) {
            System.err.println("not written by the codec in Go: " + missing);
            System.exit(1);
        }
        System.err.println("Java reads all " + equal + " values of the codec in Go as its own");
    }

    public static void main(String[] args) throws Exception {
        structs();
        calls();
        replies();
        Path file = Path.of(args[1]);
        switch (args[0]) {
            case "write" -> write(file);
            case "check" -> checkAll(file);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }
}
