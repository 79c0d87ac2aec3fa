import java.io.ByteArrayOutputStream;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import org.apache.kafka.common.utils.Exit;

/**
 * Kafka's command-line tools in one process, so that a hundred commands take seconds.
 *
 * A line in is `tool TAB argument TAB ...`. What comes out is a line with the exit status and the
 * length of what the tool said on both of its outputs, then that.
 */
public final class Tools {
    private static final Map<String, String> CLASSES = Map.ofEntries(
        Map.entry("topics", "org.apache.kafka.tools.TopicCommand"),
        Map.entry("configs", "kafka.admin.ConfigCommand"),
        Map.entry("groups", "org.apache.kafka.tools.GroupsCommand"),
        Map.entry("consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
        Map.entry("transactions", "org.apache.kafka.tools.TransactionsCommand"),
        Map.entry("get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
        Map.entry("delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
        Map.entry("log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
        Map.entry("features", "org.apache.kafka.tools.FeatureCommand"),
        Map.entry("cluster", "org.apache.kafka.tools.ClusterTool"),
        Map.entry("metadata-quorum", "org.apache.kafka.tools.MetadataQuorumCommand"),
        Map.entry("leader-election", "org.apache.kafka.tools.LeaderElectionCommand"),
        Map.entry("reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"));

    private static final PrintStream NOTHING = new PrintStream(OutputStream.nullOutputStream());

    /** The first status that a tool wanted to exit with; some catch what ends them, and go on. */
    private static Integer exited;

    private static final class Ended extends RuntimeException {
        Ended() {
            super(null, null, false, false);
        }
    }

    private static void end(int status) {
        if (exited == null) {
            exited = status;
            System.setOut(NOTHING);
            System.setErr(NOTHING);
        }
        throw new Ended();
    }

    public static void main(String[] none) throws Exception {
        Exit.setExitProcedure((status, message) -> end(status));
        Exit.setHaltProcedure((status, message) -> end(status));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = System.out;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split("\t", -1);
            String[] arguments = Arrays.copyOfRange(words, 1, words.length);
            ByteArrayOutputStream said = new ByteArrayOutputStream();
            int status = run(CLASSES.get(words[0]), arguments, said);
            byte[] bytes = said.toByteArray();
            out.printf("%d %d%n", status, bytes.length);
            out.write(bytes);
            out.flush();
        }
    }

    private static int run(String name, String[] arguments, ByteArrayOutputStream said)
            throws Exception {
        PrintStream out = System.out;
        PrintStream err = System.err;
        PrintStream stream = new PrintStream(said, true, StandardCharsets.UTF_8);
        exited = null;
        System.setOut(stream);
        System.setErr(stream);
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException wrapped) {
            if (exited == null) {
                wrapped.getCause().printStackTrace(stream);
                return -1;
            }
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        return exited == null ? 0 : exited;
    }
}
