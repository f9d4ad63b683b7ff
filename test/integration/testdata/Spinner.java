/** Runs in a thread of a name that a dump of threads shows. */
public class Spinner {
    public static void main(String[] args) throws InterruptedException {
        Thread.currentThread().setName("spinner-of-the-test");
        System.out.println("spins");
        Thread.sleep(Long.MAX_VALUE);
    }
}
