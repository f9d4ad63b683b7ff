/** Sleeps in a thread of a name that a dump of threads shows. */
public class Sleeper {
    public static void main(String[] args) throws InterruptedException {
        Thread.currentThread().setName("sleeper-of-the-test");
        System.out.println("asleep");
        Thread.sleep(Long.MAX_VALUE);
    }
}
