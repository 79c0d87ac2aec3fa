import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.UUID;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.kstream.internals.SessionWindow;
import org.apache.kafka.streams.kstream.internals.TimeWindow;

/** What Java's serdes write: a line for each case, its name and the bytes. */
public final class SerdeVectors {
    private static final UUID AN_ID = UUID.fromString("6ba7b810-9dad-11d1-80b4-00c04fd430c8");

    private static <T> void say(String name, Serde<T> serde, T value) {
        byte[] data = serde.serializer().serialize("topic", value);
        System.out.println(name + "\t" + (data == null ? "null" : HexFormat.of().formatHex(data)));
    }

    @SafeVarargs
    private static <T> void sayAll(String name, Serde<T> serde, T... values) {
        for (int i = 0; i < values.length; i++) {
            say(name + " " + i, serde, values[i]);
        }
    }

    @SafeVarargs
    private static <T> void sayList(String name, Serde<T> inner, T... items) {
        @SuppressWarnings({"unchecked", "rawtypes"})
        Serde<List<T>> serde = Serdes.ListSerde((Class) ArrayList.class, inner);
        say(name, serde, Arrays.asList(items));
    }

    public static void main(String[] none) {
        sayAll("string", Serdes.String(), "", "a", "é 日本", "a\0b", "\ud83d\ude00");
        sayAll("long", Serdes.Long(), 0L, -2L, Long.MAX_VALUE, Long.MIN_VALUE);
        sayAll("integer", Serdes.Integer(), 0, -2, Integer.MAX_VALUE, Integer.MIN_VALUE);
        sayAll("short", Serdes.Short(), (short) 0, (short) -2, Short.MAX_VALUE, Short.MIN_VALUE);
        sayAll("float", Serdes.Float(), 1.5f, -0.0f, Float.NaN, Float.NEGATIVE_INFINITY, Float.MIN_VALUE,
            Float.MAX_VALUE);
        sayAll("double", Serdes.Double(), 1.5, -0.0, Double.NaN, Double.NEGATIVE_INFINITY, Double.MIN_VALUE,
            Double.MAX_VALUE);
        sayAll("boolean", Serdes.Boolean(), true, false);
        say("uuid", Serdes.UUID(), AN_ID);
        say("bytes", Serdes.ByteArray(), new byte[] {0, -1, 7});
        say("Bytes", Serdes.Bytes(), Bytes.wrap(new byte[] {0, -1, 7}));
        say("ByteBuffer", Serdes.ByteBuffer(), ByteBuffer.wrap("xyz".getBytes(StandardCharsets.UTF_8)));
        say("void", Serdes.Void(), null);
        sayList("list of long", Serdes.Long(), 7L, null, -2L, null);
        sayList("list of integer", Serdes.Integer(), 7, -2);
        sayList("list of short", Serdes.Short(), (short) 7, null);
        sayList("list of float", Serdes.Float(), 1.5f);
        sayList("list of double", Serdes.Double(), 1.5, null);
        sayList("list of uuid", Serdes.UUID(), AN_ID, null);
        sayList("list of boolean", Serdes.Boolean(), true, null, false);
        sayList("list of string", Serdes.String(), "a", null, "", "é");
        sayList("list of nothing", Serdes.String());
        sayList("list of no long", Serdes.Long());
        sayList("list of lists", Serdes.ListSerde(listClass(), Serdes.Integer()), List.of(7), List.of(8, 9));
        Windowed<String> hour = new Windowed<>("k", new TimeWindow(3_600_000, 7_200_000));
        say("time windowed", WindowedSerdes.timeWindowedSerdeFrom(String.class, 3_600_000), hour);
        say("time windowed long", WindowedSerdes.timeWindowedSerdeFrom(Long.class, 60_000),
            new Windowed<>(7L, new TimeWindow(60_000, 120_000)));
        say("session windowed", WindowedSerdes.sessionWindowedSerdeFrom(String.class),
            new Windowed<>("k", new SessionWindow(1_000, 61_000)));
        say("session of one", WindowedSerdes.sessionWindowedSerdeFrom(String.class),
            new Windowed<>("", new SessionWindow(77, 77)));
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static <T> Class<List<T>> listClass() {
        return (Class) ArrayList.class;
    }
}
