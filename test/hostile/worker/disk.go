package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// fill writes so many MiB into a directory, and stays.
func fill(args []string) error { return write(args, func(*os.File) error { return nil }) }

// unlinked is fill with files that it deletes and keeps open: no name leads to them.
func unlinked(args []string) error {
	return write(args, func(f *os.File) error { return os.Remove(f.Name()) })
}

// mapped is unlinked with files that it maps and closes.
func mapped(args []string) error {
	return write(args, func(f *os.File) error {
		if _, err := syscall.Mmap(int(f.Fd()), 0, mebibyte, syscall.PROT_READ, syscall.MAP_SHARED); err != nil {
			return fmt.Errorf("map: %w", err)
		}
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
		return f.Close()
	})
}

const mebibyte = 1 << 20

// write makes as many files of a MiB as args says, after their directory.
func write(args []string, written func(*os.File) error) error {
	if len(args) != 2 {
		return fmt.Errorf("want a directory and a number of MiB, have %q", args)
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	block := make([]byte, mebibyte)
	for i := range count {
		f, err := os.Create(filepath.Join(args[0], "fill-"+strconv.Itoa(i)))
		if err != nil {
			return err
		}
		if _, err := f.Write(block); err != nil {
			return err
		}
		if err := written(f); err != nil {
			return err
		}
	}
	stay()
	return nil
}

// files makes as many empty files as args says, after their directory, and stays.
func files(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want a directory and a number, have %q", args)
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for i := range count {
		if err := os.WriteFile(filepath.Join(args[0], strconv.Itoa(i)), nil, 0o600); err != nil {
			return err
		}
	}
	stay()
	return nil
}
