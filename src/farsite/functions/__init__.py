"""Built-in VNFs of Linux sites: small, real, standard library only; they import nothing of ours."""
