//go:build race

package gometa_test

func init() {
	// The race detector keeps memory for every goroutine and address.
	watchesMemory = false
}
