"""What every driver of the VIM seam has to do, said once and asked of all of them."""
