"""Every public function here is a cleaning step: text → text."""
