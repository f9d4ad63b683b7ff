import java.lang.management.ManagementFactory;
import java.time.LocalTime;
import java.time.format.DateTimeFormatter;

/** The demo's worker: a JVM that logs a line each second until it is told to end. */
public final class Clock {
    public static void main(String[] args) throws InterruptedException {
        DateTimeFormatter clock = DateTimeFormatter.ofPattern("HH:mm:ss");
        Runtime runtime = Runtime.getRuntime();
        say("started: Java %s, pid %d, %d processors, heap of at most %d MiB",
            System.getProperty("java.version"), ProcessHandle.current().pid(),
            runtime.availableProcessors(), runtime.maxMemory() >> 20);
        runtime.addShutdownHook(new Thread(() -> say("told to end")));
        for (long tick = 1; ; tick++) {
            say("%s tick %d of %s, up %d ms", LocalTime.now().format(clock), tick,
                System.getenv().getOrDefault("CLOCK_NAME", "the clock"), ManagementFactory.getRuntimeMXBean().getUptime());
            Thread.sleep(1000);
        }
    }

    /** Writes a line in one piece; printf would write it in many. */
    private static void say(String format, Object... values) {
        System.out.println(String.format(format, values));
    }
}
