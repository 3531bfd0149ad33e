(ns bench.garbage
  "Prints the bytes that the server's workers allocate for a request, a line `garbage-<path><tab><bytes>` for each path.

  Run it with `-XX:TieredStopAtLevel=1`: the optimizing compiler removes allocations, and not always the same ones."
  (:require [bench.handlers     :as handlers]
            [clojure.string     :as str]
            [org.httpkit.server :as server])
  (:import [com.sun.management ThreadMXBean]
           [java.io DataInputStream InputStream OutputStream]
           [java.lang.management ManagementFactory]
           [java.net Socket]
           [java.util Arrays]))

(set! *warn-on-reflection* true)

(def ^:private thread-prefix "garbage-worker-")
(def ^:private warm-up 3000)
(def ^:private measured 5000)

(def ^:private browser-fields
  ["User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
   "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
   "Accept-Language: en-US,en;q=0.5" "Accept-Encoding: gzip, deflate, br, zstd" "Referer: http://localhost/list"
   "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark" "Sec-Fetch-Dest: document" "Priority: u=0, i"
   "X-Request-Id: 5c0a6a1e-6a1b-4a43-9a3c-2f1f9d7a1b7e"])

(defn- request ^bytes [target & fields]
  (.getBytes (str "GET " target " HTTP/1.1\r\nHost: localhost\r\n" (str/join (map #(str % "\r\n") fields)) "\r\n")))

(def ^:private text-frame
  "A masked text message of 32 bytes; the mask is 0."
  (byte-array (concat [0x81 (unchecked-byte (bit-or 0x80 32)) 0 0 0 0] (repeat 32 (byte \e)))))

(defn- response-length
  "Reads one response, whose length it returns. Call it with no other response on its way."
  [^InputStream in]
  (let [buffer (byte-array 65536)
        read   (.read in buffer)
        head   (String. buffer 0 read "ISO-8859-1")
        length (parse-long (or (second (re-find #"(?i)content-length: (\d+)" head)) "0"))
        end    (+ 4 (long (str/index-of head "\r\n\r\n")))
        left   (- (+ end length) read)]
    (.skipNBytes in left)
    (+ end length)))

(defn- allocated []
  (let [^ThreadMXBean threads (ManagementFactory/getThreadMXBean)]
    (reduce (fn [sum ^Thread thread]
              (if (str/starts-with? (.getName thread) thread-prefix)
                (+ sum (.getThreadAllocatedBytes threads (.getId thread)))
                sum))
      0 (keys (Thread/getAllStackTraces)))))

(defn- exchange [^OutputStream out ^DataInputStream in ^bytes up ^bytes down times]
  (dotimes [_ times]
    (.write out up)
    (.readFully in down)))

(defn- per-request
  "Bytes for one of `requests` in `up`, each of which gets `down` bytes."
  [^Socket socket up down requests]
  (let [out (.getOutputStream socket)
        in  (DataInputStream. (.getInputStream socket))
        buf (byte-array (* requests down))]
    (exchange out in up buf warm-up)
    (let [before (allocated)]
      (exchange out in up buf measured)
      (quot (- (allocated) before) (* measured requests)))))

(defn- report [port path ^bytes up ^long requests]
  (with-open [socket (Socket. "localhost" (int port))]
    (let [^bytes one (Arrays/copyOf up (int (quot (alength up) requests)))]
      (.write (.getOutputStream socket) one)
      (let [down (response-length (.getInputStream socket))]
        (println (str "garbage-" path "\t" (per-request socket up down requests)))))))

(defn- report-websocket [port]
  (with-open [socket (Socket. "localhost" (int port))]
    (.write (.getOutputStream socket)
      (request "/ws" "Upgrade: websocket" "Connection: Upgrade" "Sec-WebSocket-Version: 13"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
    (response-length (.getInputStream socket))
    (println (str "garbage-ws-echo\t" (per-request socket text-frame 34 1)))))

(defn- websocket [request]
  (server/as-channel request {:on-receive server/send!}))

(defn -main []
  (let [server (server/run-server (handlers/app {"/ws" websocket})
                 {:port 0, :legacy-return-value? false, :worker-name-prefix thread-prefix})
        port   (server/server-port server)
        hello  (request "/")]
    (report port "hello" hello 1)
    (report port "browser" (apply request "/json?user=42&page=7" browser-fields) 1)
    (report port "pipelined-10" (byte-array (mapcat identity (repeat 10 hello))) 10)
    (report-websocket port)
    @(server/server-stop! server)
    (shutdown-agents)))
