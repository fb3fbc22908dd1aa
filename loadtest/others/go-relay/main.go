// go-relay passes bytes on and looks at none: what a proxy in Go costs at least, whatever else it does.
//
// It stands beside kafka-proxy in comparisons and in for it where that cannot be had. Reads and writes
// go through a buffer of 32 KiB, io.Copy's own size, as in a proxy that has to see the bytes; without
// the wrappers below Go would move them inside the kernel (splice).
package main

import (
	"io"
	"log"
	"net"
	"os"
)

type reader struct{ io.Reader }
type writer struct{ io.Writer }

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: go-relay LISTEN UPSTREAM")
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go relay(client, os.Args[2])
	}
}

func relay(client net.Conn, address string) {
	defer client.Close()
	upstream, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer upstream.Close()
	done := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		// The end of either way ends both, as in the other relays.
		io.Copy(writer{to}, reader{from})
		done <- struct{}{}
	}
	go pass(upstream, client)
	go pass(client, upstream)
	<-done
}
