from streamkit.common.direct cimport RecordWriter, as_bytes
from streamkit.common.plain cimport plain_size
from streamkit.common.partitioner cimport partition_for
from streamkit.records.codec cimport BatchBuilder
