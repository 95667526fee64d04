"""An adversary in the lab: a client that speaks TCP by hand, and real servers that write down what reached them."""
