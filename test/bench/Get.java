import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FsShell;
import org.apache.hadoop.util.ToolRunner;

/**
 * "hdfs dfs -get" many times in one JVM: for each line "SOURCE DESTINATION" of its input it gets a
 * file and prints the nanoseconds that this took. So neither the start of the JVM counts nor, after
 * a first file, the loading of classes.
 */
public final class Get {
    public static void main(String[] args) throws Exception {
        FsShell shell = new FsShell(new Configuration());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] names = line.split(" ");
            long begin = System.nanoTime();
            int code = ToolRunner.run(shell, new String[] {"-get", "-f", names[0], names[1]});
            long took = System.nanoTime() - begin;
            if (code != 0) {
                System.exit(code);
            }
            System.out.println(took);
        }
    }
}
