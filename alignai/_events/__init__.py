"""Events: from the arguments of a call to the bytes that are stored and sent."""
