import java.util.concurrent.CountDownLatch;

/** Starts threads that are all alive at once, and then a process. */
public class Threads {
    public static void main(String[] args) throws Exception {
        CountDownLatch all = new CountDownLatch(64);
        for (long left = all.getCount(); left > 0; left--) {
            new Thread(() -> {
                all.countDown();
                try {
                    all.await();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }).start();
        }
        all.await();
        System.out.println("64 threads ran at once");
        System.out.flush();
        System.exit(new ProcessBuilder(args).inheritIO().start().waitFor());
    }
}
