from streamkit.records.codec cimport BatchBuilder
