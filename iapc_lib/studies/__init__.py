"""Many runs: scenarios x seeds x variants, and the tables over them."""
