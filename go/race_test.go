//go:build race

package gometa_test

func init() {
	// The race detector remembers every goroutine and address in memory of its own.
	watchesMemory = false
}
