"""torchreid's side: what `import st_reid` changes there, and clips for its engines."""
