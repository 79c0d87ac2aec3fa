import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import java.util.TreeSet;
import java.util.function.Consumer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.state.Stores;

/**
 * Under which topics Kafka Streams calls a program's serdes: what their subjects in a schema registry are.
 *
 * A line for each case and subject, TOPIC-key or TOPIC-value as the serde was given for keys or for values.
 */
public final class SerdeTopics {
    private static final TreeSet<String> SEEN = new TreeSet<>();

    /** Text; remembers what it was called with. */
    private static final class Spy implements Serde<String> {
        private final String side;

        Spy(String side) {
            this.side = side;
        }

        @Override
        public Serializer<String> serializer() {
            return (topic, value) -> {
                SEEN.add(topic + side);
                return value == null ? null : value.getBytes(StandardCharsets.UTF_8);
            };
        }

        @Override
        public Deserializer<String> deserializer() {
            return (topic, data) -> {
                SEEN.add(topic + side);
                return data == null ? null : new String(data, StandardCharsets.UTF_8);
            };
        }
    }

    private static final Serde<String> K = new Spy("-key");
    private static final Serde<String> V = new Spy("-value");
    private static final Duration MINUTE = Duration.ofMinutes(1);
    private static final ValueJoiner<String, String, String> BOTH = (one, two) -> one + two;

    private static KStream<String, String> stream(StreamsBuilder builder, String topic) {
        return builder.stream(topic, Consumed.with(K, V));
    }

    private static KTable<String, String> table(StreamsBuilder builder, String topic) {
        return builder.table(topic, Consumed.with(K, V));
    }

    private static <S extends org.apache.kafka.streams.processor.StateStore> Materialized<String, String, S> kept(
            String name) {
        return Materialized.<String, String, S>as(name).withKeySerde(K).withValueSerde(V);
    }

    private static void run(String name, Consumer<StreamsBuilder> declare) {
        StreamsBuilder builder = new StreamsBuilder();
        declare.accept(builder);
        Properties config = new Properties();
        config.put("application.id", "shop");
        config.put("bootstrap.servers", "none:1");
        config.put("statestore.cache.max.bytes", 0);
        SEEN.clear();
        try (TopologyTestDriver driver = new TopologyTestDriver(builder.build(), config)) {
            String[] topics = {"a", "b"};
            for (int round = 0; round < 2; round++) {
                for (String topic : topics) {
                    try {
                        TestInputTopic<String, String> input =
                            driver.createInputTopic(topic, new StringSerializer(), new StringSerializer());
                        input.pipeInput("k", "k" + round, round * 3_600_000L);
                        input.pipeInput("k0", "v" + round, round * 3_600_000L + 1);
                    } catch (IllegalArgumentException notRead) {
                        continue;
                    }
                }
            }
        }
        for (String subject : SEEN) {
            System.out.println(name + "\t" + subject);
        }
    }

    public static void main(String[] none) {
        run("reduce", b -> stream(b, "a").groupBy((k, v) -> v, Grouped.with(K, V))
            .reduce((one, two) -> two, kept("latest")).toStream().to("out", Produced.with(K, V)));
        run("windowed", b -> stream(b, "a").groupByKey(Grouped.with(K, V))
            .windowedBy(TimeWindows.ofSizeWithNoGrace(MINUTE)).reduce((one, two) -> two, kept("minutes"))
            .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()).withName("closed"))
            .toStream().to("out", Produced.with(new WindowedSerdes.TimeWindowedSerde<>(K, 60_000), V)));
        run("sessions", b -> stream(b, "a").groupByKey(Grouped.with(K, V))
            .windowedBy(SessionWindows.ofInactivityGapWithNoGrace(MINUTE)).reduce((one, two) -> two, kept("visits"))
            .toStream().to("out", Produced.with(new WindowedSerdes.SessionWindowedSerde<>(K), V)));
        run("foreign", b -> table(b, "a").join(table(b, "b"), v -> v, BOTH, TableJoined.as("priced"), kept("joined"))
            .toStream().to("out", Produced.with(K, V)));
        run("streams", b -> stream(b, "a").leftJoin(stream(b, "b"), BOTH, JoinWindows.ofTimeDifferenceWithNoGrace(MINUTE),
            StreamJoined.with(K, V, V).withName("joining").withStoreName("sides")).to("out", Produced.with(K, V)));
        run("tables", b -> table(b, "a").leftJoin(table(b, "b"), BOTH, kept("both")).toStream()
            .to("out", Produced.with(K, V)));
        run("regrouped", b -> table(b, "a").groupBy((k, v) -> KeyValue.pair(v, v), Grouped.with(K, V))
            .reduce((one, two) -> two, (one, two) -> one, kept("sums")).toStream().to("out", Produced.with(K, V)));
        run("through", b -> stream(b, "a").repartition(Repartitioned.with(K, V).withName("again"))
            .to("out", Produced.with(K, V)));
        run("versioned", b -> b.table("a", Consumed.with(K, V), Materialized.<String, String>as(
            Stores.persistentVersionedKeyValueStore("history", Duration.ofHours(2))).withKeySerde(K).withValueSerde(V))
            .toStream().to("out", Produced.with(K, V)));
        run("suppressed", b -> table(b, "a").suppress(Suppressed.untilTimeLimit(MINUTE,
            Suppressed.BufferConfig.unbounded()).withName("later")).toStream().to("out", Produced.with(K, V)));
    }
}
