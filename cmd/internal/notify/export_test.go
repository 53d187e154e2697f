package notify

import "time"

// SetTimeout sets the longest wait for a manager that does not read.
func (m *Manager) SetTimeout(d time.Duration) { m.timeout = d }
