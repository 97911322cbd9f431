// Command kill9 kills a server with SIGKILL at random moments under load and checks after each restart that
// nothing it had acknowledged is lost and that nothing is half there.
//
//	go run . -server ../../../target/release/strongroom -rounds 200
//
// Each round: writers store KV version 2 secrets with check-and-set (alone on their own keys, against each other on
// shared ones), create tokens, children of tokens and AppRole secret ids, log in, revoke and destroy, and note
// what was acknowledged and what was under way. The process is killed, started and unsealed again, and everything is
// read back:
//
//   - a secret's versions are the acknowledged writes, and perhaps one that was under way, each wholly there;
//   - an acknowledged token works, an acknowledged revocation holds, for the token's children too;
//   - every accessor leads to a token, every lease belongs to one, and none is there that nobody asked for;
//   - a secret id has exactly the uses left that its logins did not take;
//   - every acknowledged request stands in the audit file.
//
// The first round that finds otherwise says what, keeps the server's directory and ends with status 1. The seed that
// is printed decides the writers' choices and the moments of the kills; the scheduler decides the rest.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	server  string
	rounds  int
	seed    uint64
	writers int
	live    int
	maxRun  time.Duration
	lenient bool
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "../../../target/release/strongroom", "the server binary")
	flag.IntVar(&o.rounds, "rounds", 200, "how often to kill")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "what the random choices start from")
	flag.IntVar(&o.writers, "writers", 8, "requests under way at a time")
	flag.IntVar(&o.live, "live", 400, "tokens to keep alive between rounds")
	flag.DurationVar(&o.maxRun, "run", 400*time.Millisecond, "a round is killed after 20 ms to this long")
	flag.BoolVar(&o.lenient, "lenient", false, "for a server without transactions: a request under way may be half done where "+
		"nothing acknowledged depends on it")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "kill9: %v\n", err)
		os.Exit(1)
	}
}

func run(o options) error {
	fmt.Printf("kill9: seed %d, %d rounds, %d writers\n", o.seed, o.rounds, o.writers)
	server, err := newServer(o.server)
	if err != nil {
		return err
	}
	defer server.stop()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		server.kill()
		os.Exit(130)
	}()
	if err := server.start(); err != nil {
		return err
	}
	if err := server.initialise(); err != nil {
		return err
	}
	model, err := prepare(server, o)
	if err != nil {
		return err
	}
	began := time.Now()
	for round := 1; round <= o.rounds; round++ {
		if err := oneRound(server, model, o, round); err != nil {
			fmt.Printf("round %d: %v\n%s", round, err, server.lastLog())
			fmt.Printf("the server's directory is kept: %s\nagain: -seed %d -rounds %d\n", server.folder, o.seed, round)
			fmt.Printf("%d passed, 1 failed\n", round-1)
			return fmt.Errorf("round %d failed", round)
		}
		if round%10 == 0 || round == o.rounds {
			fmt.Printf("round %d: %s, %.2f s a round\n", round, model.counts, time.Since(began).Seconds()/float64(round))
		}
	}
	server.stop()
	fmt.Printf("%d passed, 0 failed\n", o.rounds)
	return server.remove()
}

// oneRound loads, kills, restarts and checks.
func oneRound(server *server, model *model, o options, round int) error {
	random := rand.New(rand.NewPCG(o.seed, uint64(round)))
	done := make(chan struct{})
	for n, writer := range model.writers {
		writer.random = rand.New(rand.NewPCG(o.seed, uint64(round)<<16|uint64(n+1)))
		go func() {
			writer.work(round)
			done <- struct{}{}
		}()
	}
	time.Sleep(20*time.Millisecond + time.Duration(random.Int64N(int64(o.maxRun))))
	server.kill()
	for range model.writers {
		<-done
	}
	if err := server.start(); err != nil {
		return err
	}
	if err := server.unseal(); err != nil {
		return err
	}
	return model.verify(server, round == o.rounds)
}
