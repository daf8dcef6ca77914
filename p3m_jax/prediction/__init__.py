"""Makes mattes, cut-outs and composites of pictures, with a checkpoint or given mattes."""
