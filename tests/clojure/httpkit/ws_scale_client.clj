(ns httpkit.ws-scale-client
  "Many WebSockets in one process and one thread, for httpkit.ws-scale-test.

  Opens n of them, prints {:open n} when each has its 101, and then compares
  every byte that comes with the one that `rounds` broadcasts must bring, so
  that nothing can be lost, doubled, moved or changed unseen. A socket that has
  all of them answers with its number. In the end prints
  {:right n :wrong n :ended n}: sockets with every byte right, with a wrong
  byte, and closed by the server.

  In a process of its own, because client and server sockets together pass
  the usual limit of descriptors."
  (:require [httpkit.ws-wire :as wire])
  (:import (java.net InetSocketAddress StandardSocketOptions)
           (java.nio ByteBuffer)
           (java.nio.channels SelectionKey Selector SocketChannel)))

(set! *warn-on-reflection* true)

(def ^:private max-pending
  "Handshakes under way: fewer than the shortest listen backlog."
  32)

(def ^:private deadline-ms 90000)

(defn message
  "The text of a round, or of a socket's answer."
  [n]
  (format "%06d" n))

(defn- stream
  "All bytes that a socket must get after the head of the 101."
  ^bytes [rounds]
  (byte-array (mapcat #(wire/encode 1 (wire/payload (message %)) {:mask nil}) (range rounds))))

(defn- answer ^ByteBuffer [i]
  (ByteBuffer/wrap (wire/encode 1 (wire/payload (message i)) {})))

(defn- connect
  "No source address is bound: with the ports of an earlier run still in
  TIME_WAIT the search for a free one would take longer than all the rest."
  ^SocketChannel [port]
  (doto (SocketChannel/open)
    (.setOption StandardSocketOptions/TCP_NODELAY true)
    (.connect (InetSocketAddress. "127.0.0.1" (int port)))
    (.write (ByteBuffer/wrap (.getBytes ^String wire/handshake "US-ASCII")))
    (.configureBlocking false)))

(def ^:private head-end (.getBytes "\r\n\r\n" "US-ASCII"))

(defn- end-of-head
  "How many bytes of the blank line have been seen once `b` has come too."
  [seen b]
  (cond (= b (aget ^bytes head-end seen)) (inc seen)
        (= b (aget ^bytes head-end 0))    1
        :else                             0))

(defn- take-byte
  "Counts one byte of a socket. `state` is per socket: bytes seen of the blank
  line (0-4), then 4 + bytes of the stream, or -1 after a wrong one."
  [^longs state i b ^bytes stream]
  (let [at (aget state i)]
    (aset state i
          (long (cond (neg? at) -1
                      (< at 4)  (end-of-head at b)
                      (and (< (- at 4) (alength stream))
                           (= b (aget stream (- at 4)))) (inc at)
                      :else     -1)))))

(defn- read-all
  "Takes what has come on a socket; false when the server has closed it."
  [^SocketChannel socket ^ByteBuffer buffer state i stream]
  (.clear buffer)
  (let [n (.read socket buffer)]
    (.flip buffer)
    (while (.hasRemaining buffer)
      (take-byte state i (.get buffer) stream))
    (not (neg? n))))

(defn- turn
  "One round of the selector. Calls (step i key open?) for what can be read."
  [^Selector selector ^ByteBuffer buffer state stream step]
  (.select selector 100)
  (let [keys (.selectedKeys selector)]
    (doseq [^SelectionKey key keys]
      (let [i (.attachment key)]
        (step i key (read-all (.channel key) buffer state i stream))))
    (.clear keys)))

(defn- run-until
  "Turns the selector until (done?) or the deadline."
  [turn deadline done?]
  (while (not (or (done?) (< deadline (System/currentTimeMillis))))
    (turn)))

(defn -main [port n rounds]
  (let [port (Long/parseLong port) n (Long/parseLong n) rounds (Long/parseLong rounds)
        selector (Selector/open)
        buffer   (ByteBuffer/allocateDirect 65536)
        state    (long-array n)
        stream   (stream rounds)
        complete (+ 4 (alength stream))
        deadline (+ (System/currentTimeMillis) deadline-ms)
        open (volatile! #{}) right (volatile! #{}) wrong (volatile! #{}) ended (volatile! #{})
        step (fn [i ^SelectionKey key open?]
               (let [at (aget state i)]
                 (when (>= at 4) (vswap! open conj i))
                 (when (neg? at) (vswap! wrong conj i))
                 (when (and (= at complete) (not (@right i)))
                   (vswap! right conj i)
                   (.write ^SocketChannel (.channel key) (answer i)))
                 (when-not open?
                   (vswap! ended conj i)
                   (.cancel key))))
        turn #(turn selector buffer state stream step)
        over #(+ (count @wrong) (count @ended))]
    (dotimes [i n]
      (run-until turn deadline #(< (- i (count @open)) max-pending))
      (.register (connect port) selector SelectionKey/OP_READ i))
    (run-until turn deadline #(= n (count @open)))
    (println (pr-str {:open (count @open)}))
    (run-until turn deadline #(<= n (+ (count @right) (over))))
    (println (pr-str {:right (count @right) :wrong (count @wrong) :ended (count @ended)}))
    ;; The server still reads the answers: it is told to end by the end of our input.
    (while (not (neg? (.read System/in))))
    (System/exit 0)))
