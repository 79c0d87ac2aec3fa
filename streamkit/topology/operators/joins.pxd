from streamkit.topology.operators.node cimport Node, ProcessorContext, StoreNode
