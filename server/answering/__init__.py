"""From a request that was read to its answer: who asks, what is made, how it is handed over."""
