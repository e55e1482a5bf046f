"""Where sales come from: files, known public layouts, the synthetic world."""
