(ns httpkit.access-log-test
  "`:access-log` has one entry for each request, whatever became of it, and slows none down."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.subprocess :as subprocess]
            [httpkit.tls-certs  :as certs]
            [httpkit.tls-wire   :as tls-wire]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io ByteArrayOutputStream Closeable File IOException OutputStream PrintStream)
           (java.nio ByteBuffer)
           (java.nio.channels FileChannel)
           (java.nio.file FileSystem Files Path)
           (java.nio.file.attribute FileAttribute)
           (java.nio.file.spi FileSystemProvider)
           (java.util Date)
           (java.util.concurrent CountDownLatch Executors TimeUnit)))

(set! *warn-on-reflection* true)

(defn- temporary-directory ^File []
  (.toFile (Files/createTempDirectory "access-log" (make-array FileAttribute 0))))

(defn- request
  "Text of a request with these header lines."
  [method target & headers]
  (str method " " target " HTTP/1.1\r\nHost: example.com\r\n" (str/join (map #(str % "\r\n") headers)) "\r\n"))

(defn- handler [{:keys [uri websocket?] :as req}]
  (cond
    websocket?         (server/as-channel req {:on-receive (fn [ch message] (server/send! ch message))})
    (= "/throw" uri)   (throw (ex-info "no luck" {}))
    (= "/stream" uri)  (server/as-channel req {:on-open (fn [ch]
                                                          (server/send! ch "piece" false)
                                                          (server/close ch))})
    (= "/hang" uri)    (server/as-channel req {})
    :else              {:status 200, :body "hello"}))

(defn- lines [file]
  (str/split-lines (slurp file :encoding "ISO-8859-1")))

;;;; Functions

(deftest a-function-gets-what-is-known-of-each-request
  (let [entries (atom [])]
    (wire/with-server [{:keys [port]} handler {:access-log #(swap! entries conj %)}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (request "POST" "/a%20b?c=d" "Content-Length: 3" "User-Agent: test" "Referer: http://r/"
                                  "Authorization: Basic dXNlcjpzZWNyZXQ=" "X-Forwarded-For: 10.1.1.1")
                    "abc")
        (wire/answer conn))
      (is (wire/eventually #(seq @entries)))
      (let [[{:keys [time msecs handler-msecs] :as entry}] @entries]
        (is (= {:request-method :post, :uri "/a%20b", :query-string "c=d", :protocol "HTTP/1.1"
                :request-line "POST /a%20b?c=d HTTP/1.1", :status 200, :bytes-in 3, :bytes-out 5
                :remote-addr "127.0.0.1", :host "example.com", :user-agent "test", :referer "http://r/"
                :user "user", :tls nil, :end :done}
               (dissoc entry :time :msecs :handler-msecs)))
        (is (< (Math/abs (- (.getTime ^Date time) (System/currentTimeMillis))) 60000))
        (is (< 0.0 handler-msecs 30000.0))
        (is (<= handler-msecs msecs))))))

(deftest what-is-not-an-ordinary-response-has-an-entry-too
  (let [entries (atom [])
        after   (fn [n] (is (wire/eventually #(= n (count @entries)))) (peek @entries))]
    (wire/with-server [{:keys [port]} handler {:access-log #(swap! entries conj %)}]
      (wire/fetch port "/throw")
      (is (= [500 :done] ((juxt :status :end) (after 1))))
      (wire/fetch port "/stream")
      (is (= [200 (count "5\r\npiece\r\n0\r\n\r\n")] ((juxt :status :bytes-out) (after 2))))
      (wire/fetch port "no request\r\n\r\n")
      (is (= [400 nil nil "no request"] ((juxt :status :request-method :uri :request-line) (after 3))))
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/hang")))
      (is (= [nil nil 0 :aborted "/hang"] ((juxt :status :handler-msecs :bytes-out :end :uri) (after 4))))
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/ws" ["Upgrade" "websocket"] ["Connection" "Upgrade"]
                                           ["Sec-WebSocket-Version" "13"] ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))
        (is (= 101 (:status (wire/read-head conn))))
        (is (= 4 (count @entries)) "it goes on"))
      (is (= [101 "/ws" :aborted] ((juxt :status :uri :end) (after 5))))
      (with-open [conn (wire/connect port)]
        (wire/send! conn (request "POST" "/part" "Content-Length: 50") "abc"))
      (is (= [nil "/part" 3 :aborted] ((juxt :status :uri :bytes-in :end) (after 6)))))))

(deftest a-function-that-throws-loses-its-entry-and-is-told-of
  (let [entries (atom [])]
    (wire/with-server [{:keys [port errors server]} handler
                       {:access-log (fn [{:keys [uri] :as entry}]
                                      (if (= "/bad" uri) (throw (ex-info "no luck" {})) (swap! entries conj entry)))}]
      (dotimes [_ 3] (is (= 200 (:status (wire/fetch port "/bad")))))
      (is (= 200 (:status (wire/fetch port "/good"))))
      (is (wire/eventually #(= ["/good"] (map :uri @entries))))
      (is (wire/eventually #(= {:entries 4 :lost 3} (:access-log (server/server-stats server)))))
      (is (wire/eventually #(seq @errors)))
      (let [[[message error] & more] @errors]
        (is (re-matches #":access-log: [123] entries were lost" message))
        (is (= "no luck" (ex-message error)))
        (is (empty? more) "one line a minute")))))

(defn- reported
  "The number of lost entries in each line of the loggers of a server of `wire/start`."
  [{:keys [errors warnings]}]
  (map (fn [[message]] (Long/parseLong (second (re-find #"^:access-log: (\d+) entries were lost" message))))
       (concat @warnings @errors)))

(deftest what-is-lost-after-the-first-line-of-a-minute-is-reported-by-the-stop
  (let [{:keys [port server] :as started} (wire/start handler {:access-log (fn [_] (throw (ex-info "no luck" {})))})
        lost? (fn [n] (wire/eventually #(= n (get-in (server/server-stats server) [:access-log :lost]))))]
    (wire/fetch port "/")
    (is (lost? 1))
    (is (wire/eventually #(= [1] (reported started))))
    (dotimes [_ 2] (wire/fetch port "/"))
    (is (lost? 3))
    (is (= [1] (reported started)))
    (wire/stop started)
    (is (= [1 2] (reported started)) "before the stop ends, since the process may end with it")))

(deftest what-a-slow-function-has-not-taken-when-the-server-stops-is-lost-and-reported
  (doseq [[about then] {"it gets those that it was about to" #(), "unless it fails" #(throw (ex-info "too late" {}))}]
    (testing about
      (let [gate (CountDownLatch. 1), called (atom 0), done (atom 0)
            {:keys [port server] :as started}
            (wire/start handler {:access-log (fn [_] (swap! called inc) (.await gate) (then) (swap! done inc))})]
        (wire/fetch port "/")
        (is (wire/eventually #(= 1 @called)))
        (dotimes [_ 29] (wire/fetch port "/"))
        (wire/stop started)
        (is (= {:entries 30 :lost 29} (:access-log (server/server-stats server))))
        (is (= [29] (reported started)))
        (.countDown gate)
        (is (wire/eventually #(= 30 (+ (long @done) (long (reduce + (reported started)))))))
        (is (= 1 @called))))))

(deftest a-logger-that-blocks-does-not-stop-the-log
  (let [gate   (CountDownLatch. 1)
        told   (CountDownLatch. 1)
        called (atom 0)
        {:keys [port server] :as started}
        (wire/start handler {:error-logger (fn [_ _] (.countDown told) (.await gate))
                             :access-log   (fn [_] (when (= 1 (swap! called inc)) (throw (ex-info "no luck" {}))))})]
    (try
      (wire/fetch port "/")
      (is (.await told wire/patience-ms TimeUnit/MILLISECONDS))
      (dotimes [_ 3] (wire/fetch port "/"))
      (is (wire/eventually #(= 4 @called)))
      (is (= {:entries 4 :lost 1} (:access-log (server/server-stats server))))
      (wire/stop started)
      (is (= :stopped (server/server-status server)))
      (finally (.countDown gate) (wire/stop started)))))

(deftest a-slow-function-loses-entries-and-delays-no-request
  (let [gate (CountDownLatch. 1), seen (atom 0)
        {:keys [port server warnings] :as started} (wire/start handler {:access-log (fn [_] (.await gate) (swap! seen inc))})]
    (try
      (with-open [conn (wire/connect port)]
        (dotimes [_ 120]
          (wire/send! conn (str/join (repeat 100 (wire/get-request "/"))))
          (dotimes [_ 100] (wire/answer conn))))
      ;; A response may arrive before its entry.
      (is (wire/eventually #(= 12000 (:entries (:access-log (server/server-stats server))))))
      (let [{:keys [lost]} (:access-log (server/server-stats server))]
        (is (pos? lost))
        (is (wire/eventually #(seq @warnings)) "while it is blocked")
        (let [[[message error] & more] @warnings]
          (is (re-matches #":access-log: \d+ entries were lost, because they could not be written in time" message))
          (is (nil? error))
          (is (empty? more) "one line a minute"))
        (.countDown gate)
        (is (wire/eventually #(= (- 12000 (long lost)) @seen)))
        (wire/stop started)
        (is (wire/eventually #(= lost (reduce + (reported started))))))
      (finally (.countDown gate) (wire/stop started)))))

;;;; Lines

(def ^:private evil
  "Header lines that try to forge fields and lines."
  ["User-Agent: x\" 200 \\ \t\u00e9" "Referer: \"" (str "Authorization: Basic " (.encodeToString (java.util.Base64/getEncoder) (.getBytes "a \"\n:x")))])

(defn- logged
  "The lines that these requests leave in a file of this format."
  [format & requests]
  (let [file   (io/file (temporary-directory) "access.log")
        server (wire/start handler {:access-log {:file file :format format}})]
    (doseq [text requests]
      (with-open [conn (wire/connect (:port server))]
        (wire/send! conn text)
        (wire/answer conn :head? (str/starts-with? text "HEAD"))))
    (wire/stop server)
    (lines file)))

(deftest a-line-has-the-fields-of-its-format-with-what-clients-send-escaped
  (let [time    #"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
        timeless #(str/replace % time "[T]")]
    (is (= ["127.0.0.1 - - [T] \"GET /x?y HTTP/1.1\" 200 5"
            "127.0.0.1 - a\\x20\\\"\\x0a [T] \"GET /\\\"\\\\ HTTP/1.1\" 200 5"
            "127.0.0.1 - - [T] \"\\x01\\x02 \\\"\" 400 22"]
           (map timeless (logged :common (request "GET" "/x?y") (apply request "GET" "/\"\\" evil) "\1\2 \"\r\n\r\n"))))
    (is (= ["127.0.0.1 - - [T] \"GET /stream HTTP/1.1\" 200 15 \"http://r/\" \"me\""
            "127.0.0.1 - a\\x20\\\"\\x0a [T] \"GET / HTTP/1.1\" 200 5 \"\\\"\" \"x\\\" 200 \\\\ \\x09\\xe9\""
            "127.0.0.1 - - [T] \"HEAD / HTTP/1.1\" 200 - \"-\" \"-\""]
           (map timeless (logged :combined (request "GET" "/stream" "User-Agent: me" "Referer: http://r/")
                                 (apply request "GET" "/" evil) (request "HEAD" "/" "Connection: close")))))))

(deftest a-line-of-json-is-one-object
  (let [[good bad] (logged :json (apply request "GET" "/?q" evil) "\0\"\\\r\n\r\n")]
    (is (re-matches (re-pattern (str "\\{\"time\":\"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(?:\\.\\d+)?Z\",\"remote-addr\":\"127\\.0\\.0\\.1\","
                                     "\"user\":\"a \\\\\"\\\\u000a\",\"request-method\":\"GET\",\"uri\":\"/\",\"query-string\":\"q\","
                                     "\"protocol\":\"HTTP/1\\.1\",\"request-line\":\"GET /\\?q HTTP/1\\.1\",\"status\":200,\"bytes-in\":0,"
                                     "\"bytes-out\":5,\"msecs\":\\d+\\.\\d{3},\"handler-msecs\":\\d+\\.\\d{3},\"host\":\"example\\.com\","
                                     "\"user-agent\":\"x\\\\\" 200 \\\\\\\\ \\\\u0009\\\\u00e9\",\"referer\":\"\\\\\"\",\"tls\":null,\"end\":\"done\"\\}"))
                    good)
        good)
    (is (str/includes? bad ",\"request-method\":null,\"uri\":null,\"query-string\":null,\"protocol\":null,\"request-line\":\"\\u0000\\\"\\\\\",\"status\":400,")
        bad)))

(deftest a-path-and-standard-output-get-combined-lines
  (let [directory (temporary-directory)
        out       (ByteArrayOutputStream.)
        original  System/out]
    (doseq [[about log] {"string" (str (io/file directory "a")), "File" (io/file directory "b"), "Path" (.toPath (io/file directory "c"))}]
      (testing about
        (let [server (wire/start handler {:access-log log})]
          (wire/fetch (:port server) "/")
          (wire/stop server)
          (is (re-find #"\"GET / HTTP/1.1\" 200 5 \"-\" \"-\"$" (first (lines (str log))))))))
    (System/setOut (PrintStream. out true))
    (try
      (let [server (wire/start handler {:access-log :stdout})]
        (wire/fetch (:port server) "/out")
        (wire/stop server))
      (finally (System/setOut original)))
    (is (re-find #"\"GET /out HTTP/1.1\" 200 5 \"-\" \"-\"\n$" (str out)))))

(deftest a-failure-of-standard-output-is-noticed-once-and-its-line-says-so
  (let [original System/out]
    (System/setOut (PrintStream. (proxy [OutputStream] []
                                   (write ([_] (throw (IOException. "full"))) ([_ _ _] (throw (IOException. "full")))))))
    (try
      (wire/with-server [{:keys [port server errors]} handler {:access-log :stdout}]
        (let [access #(:access-log (server/server-stats server))]
          (wire/fetch port "/")
          (is (wire/eventually #(= {:entries 1 :lost 1} (access))))
          (is (wire/eventually #(seq @errors)))
          (is (= "standard output cannot be written to; later failures are not noticed" (ex-message (second (first @errors)))))))
      (finally (System/setOut original)))))

(deftest a-file-is-appended-to-and-opened-again-when-it-is-renamed
  (let [directory (temporary-directory)
        file      (io/file directory "access.log")
        renamed   (io/file directory "access.log.1")]
    (spit file "before\n")
    (wire/with-server [{:keys [port]} handler {:access-log file}]
      (wire/fetch port "/first")
      (is (wire/eventually #(= 2 (count (lines file)))))
      (.renameTo file renamed)
      ;; It is noticed within a second, by the next line after that.
      (is (wire/eventually #(do (wire/fetch port "/second") (.exists file))))
      (is (wire/eventually #(pos? (.length file))))
      (is (= "before" (first (lines renamed))))
      (is (re-find #"/second" (first (lines file)))))
    (is (every? #(re-find #"^before|/first|/second" %) (concat (lines file) (lines renamed))))))

(deftest a-file-whose-folder-is-gone-is-written-to-until-there-is-a-new-one
  (let [parent    (temporary-directory)
        directory (doto (io/file parent "logs") (.mkdir))
        moved     (io/file parent "moved")
        file      (io/file directory "access.log")
        written   #(count (lines (io/file moved "access.log")))]
    (wire/with-server [{:keys [port server errors]} handler {:access-log file}]
      (wire/fetch port "/")
      (is (wire/eventually #(= 1 (count (lines file)))))
      (is (.renameTo directory moved))
      (is (wire/eventually #(do (wire/fetch port "/") (seq @errors))) "it is told of")
      (let [n (written)]
        (wire/fetch port "/")
        (is (wire/eventually #(< n (written)))))
      (is (= [":access-log: the file cannot be opened again; entries go to the one that is open"] (map first @errors))
          "one line a minute")
      (is (instance? java.nio.file.NoSuchFileException (second (first @errors))))
      (.mkdir directory)
      (is (wire/eventually #(do (wire/fetch port "/") (.exists file))))
      (is (wire/eventually #(pos? (.length file))))
      ;; A response may arrive before its entry.
      (is (wire/eventually #(let [{:keys [entries lost]} (:access-log (server/server-stats server))]
                              (= [0 entries] [lost (+ (written) (count (lines file)))])))))))

(deftest a-file-that-is-deleted-before-the-first-request-is-made-again
  (let [file (io/file (temporary-directory) "access.log")]
    (wire/with-server [{:keys [port]} handler {:access-log file}]
      (is (.delete file))
      (wire/fetch port "/")
      (is (wire/eventually #(pos? (.length file)))))))

(defn- open-files
  "How many descriptors of this process are of this file."
  [^File file]
  (count (filter #(= (.getCanonicalPath file) (try (str (Files/readSymbolicLink (.toPath ^File %))) (catch IOException _ nil)))
                 (.listFiles (io/file "/proc/self/fd")))))

(deftest a-file-is-open-from-the-start-to-the-stop
  (let [file (io/file (temporary-directory) "access.log")]
    (with-open [taken (java.net.ServerSocket. 0)]
      (is (thrown? java.net.BindException (wire/start handler {:port (.getLocalPort taken) :access-log file}))))
    (is (= 0 (open-files file)) "a server that cannot bind keeps none")
    (let [started (wire/start handler {:access-log file})]
      (is (= 1 (open-files file)))
      (wire/stop started)
      (is (= 0 (open-files file))))))

(def ^:private program-without-descriptors
  "Takes all descriptors before the first request. Prints whether that is logged; whether, once the log was renamed, it is
  told of, and requests are still logged there; whether there is a new file when there are descriptors again; how many
  entries were lost; and what was told."
  '(do
     (require '[org.httpkit.server :as server])
     (import '(java.io File FileInputStream IOException OutputStream) '(java.net Socket))
     (let [file    (File. (System/getProperty "access.log"))
           renamed (File. (str file ".1"))
           spare   (try (FileInputStream. "/dev/null") (catch IOException _ nil))
           errors  (atom [])
           start   #(server/run-server (fn [_] {:body "ok"})
                                       {:port 0 :ip "127.0.0.1" :access-log % :legacy-return-value? false
                                        :error-logger (fn [message e] (swap! errors conj message))})
           dial    #(Socket. "127.0.0.1" (int (server/server-port %)))
           ask     (fn [^Socket socket]
                     (.write (.getOutputStream socket) (.getBytes "GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
                     (.readNBytes (.getInputStream socket) 12))
           until   (fn [f]
                     (let [end (+ (System/nanoTime) 60000000000)]
                       (loop [] (or (f) (when (< (System/nanoTime) end) (Thread/sleep 10) (recur))))))
           ;; What it loads while it writes its first line is there then.
           first-server (start (File. (str file ".first")))]
       (ask (dial first-server))
       (until #(pos? (.length (File. (str file ".first")))))
       @(server/server-stop! first-server)
       (.close spare)
       (let [server (start file)
             socket (dial server)
             _      (until #(= 1 (:open (:connections (server/server-stats server)))))
             taken  (doall (take-while some? (repeatedly #(try (FileInputStream. "/dev/null") (catch IOException _ nil)))))
             _      (ask socket)
             first? (boolean (until #(pos? (.length file))))
             _      (.renameTo file renamed)
             told?  (boolean (until #(do (ask socket) (seq @errors))))
             before (.length renamed)
             _      (ask socket)
             then?  (boolean (until #(< before (.length renamed))))
             _      (run! #(.close ^FileInputStream %) taken)
             new?   (boolean (until #(do (ask socket) (pos? (.length file)))))]
         (prn [first? told? then? new? (:lost (:access-log (server/server-stats server))) (set @errors)])
         (flush)
         (System/exit 0)))))

(deftest without-descriptors-no-entry-is-lost
  (let [file (io/file (temporary-directory) "access.log")
        {:keys [out]}
        (subprocess/run (pr-str program-without-descriptors)
                        :java "bash"
                        :jvm-args (into ["-c" "ulimit -n 200; exec \"$@\"" "bash" subprocess/java-command (str "-Daccess.log=" file)]
                                        (concat (when-let [path (System/getProperty "http-kit.native.path")]
                                                  [(str "-Dhttp-kit.native.path=" path)])
                                                subprocess/native-access)))]
    (is (= "[true true true true 0 #{\":access-log: the file cannot be opened again; entries go to the one that is open\"}]"
           (last (str/split-lines out)))
        out)))

(deftest a-file-that-cannot-be-opened-keeps-the-server-from-starting
  (let [directory (temporary-directory)]
    (is (thrown-with-msg? java.io.IOException #":access-log cannot be opened: java.nio.file.NoSuchFileException: .*none"
                          (wire/start handler {:access-log (io/file directory "none" "access.log")})))
    (with-open [taken (java.net.ServerSocket. 0)]
      (is (thrown? java.net.BindException
                   (wire/start handler {:port (.getLocalPort taken) :access-log (io/file directory "access.log")}))))))

(defn- scarce-channel
  "Writes to `channel` while `room`, an atom, has bytes left."
  [^FileChannel channel room]
  (proxy [FileChannel] []
    (write [^ByteBuffer from]
      (let [n (int (min (.remaining from) (long @room)))]
        (when (zero? n) (throw (java.io.IOException. "No space left on device")))
        (swap! room - n)
        (.write channel (.limit (.duplicate from) (+ (.position from) n)))
        (.position from (+ (.position from) n))
        n))
    (implCloseChannel [] (.close channel))))

(defn- scarce-path
  "The path of `file` on a disk with `room`, an atom, bytes left."
  [^File file room]
  (let [path     (.toPath file)
        provider (proxy [FileSystemProvider] []
                   (newFileChannel [_ options attributes]
                     (scarce-channel (FileChannel/open path ^java.util.Set options (into-array FileAttribute attributes)) room))
                   (readAttributes [_ type options]
                     (Files/readAttributes path ^Class type ^"[Ljava.nio.file.LinkOption;" options)))
        system   (proxy [FileSystem] [] (provider [] provider))]
    (reify Path (getFileSystem [_] system))))

(deftest a-full-disk-loses-the-lines-that-it-has-no-room-for
  (doseq [over [0 7]]
    (testing (str over " bytes of a line fit")
      (let [room    (atom 100000)
            file    (io/file (temporary-directory) "access.log")
            renamed (io/file (.getParentFile file) "access.log.1")
            pattern #"127.0.0.1 .* \"GET / HTTP/1.1\" 200 5"]
        (wire/with-server [{:keys [port server]} handler {:access-log {:file (scarce-path file room) :format :common}}]
          (let [access  #(:access-log (server/server-stats server))
                request #(wire/send! % (str/join (repeat 10 (wire/get-request "/"))))]
            (wire/fetch port "/")
            (is (wire/eventually #(str/ends-with? (slurp file) "\n")))
            (let [line (.length file)]
              (reset! room (+ over (* 5 line)))
              (with-open [conn (wire/connect port)]
                (request conn)
                (dotimes [_ 10] (wire/answer conn)))
              (is (wire/eventually #(and (= 11 (:entries (access))) (= 0 @room) (pos? (:lost (access))))))
              (is (wire/eventually #(= {:entries 11 :lost 5} (access))))
              (is (= (+ over (* 6 line)) (.length file)))
              (reset! room 100000)
              (wire/fetch port "/")
              (is (wire/eventually #(= (+ over (min over 1) (* 7 line)) (.length file))) "a torn line is ended, and no other")
              (is (= 7 (count (filter #(re-matches pattern %) (lines file)))))
              (reset! room 7)
              (wire/fetch port "/")
              (is (wire/eventually #(= 0 @room)))
              (.renameTo file renamed)
              (is (wire/eventually #(do (wire/fetch port "/") (.exists file))))
              (reset! room 100000)
              (is (wire/eventually #(do (wire/fetch port "/") (pos? (.length file)))))
              (is (re-matches pattern (first (lines file))) "a new file has no torn line"))))))))

(deftest a-request-through-tls-has-its-version
  (let [entries (atom [])]
    (wire/with-server [{:keys [server]} handler
                       {:ssl-port 0, :tls (certs/pem "server"), :access-log #(swap! entries conj %)}]
      (doseq [version ["TLSv1.2" "TLSv1.3"]]
        (is (= 200 (:status (tls-wire/fetch (server/server-ssl-port server) "/" {:protocols [version]})))))
      (is (wire/eventually #(= ["TLSv1.2" "TLSv1.3"] (map :tls @entries)))))))

;;;; As many entries as requests

(def ^:private pipelines
  "What is sent on a connection, and how many times it gets 200; nil if the peer reads nothing."
  [[(str (str/join (repeat 499 (request "GET" "/"))) (request "GET" "/" "Connection: close")) 500]
   [(str/join (repeat 500 (request "GET" "/"))) nil]
   [(str (request "HEAD" "/") (request "GET" "/throw") "no request\r\n\r\n") nil]
   [(str (request "GET" "/stream") (request "GET" "/") "GET / HTTP/1.1\r\n\r\n") nil]
   [(request "GET" "/hang") nil]
   [(request "POST" "/" "Content-Length: 5" "Expect: 100-continue") nil]
   ["GET /half" nil]
   ["" nil]])

(defn- use-connection [port [text expected]]
  (with-open [^Closeable conn (wire/connect port)]
    (wire/send! conn text)
    (when expected
      (is (= expected (count (re-seq #"HTTP/1.1 200 OK" (wire/read-rest conn))))))))

(defn- line-counter
  "A function that returns how many lines `file` has; each call reads what is new."
  [^File file]
  (let [state (atom {:read 0, :lines 0})]
    (fn []
      (locking state
        (with-open [in (java.io.FileInputStream. file)]
          (.skipNBytes in (:read @state))
          (let [fresh (.readAllBytes in)]
            (:lines (swap! state (fn [{:keys [read lines]}]
                                   {:read  (+ (long read) (alength fresh))
                                    :lines (+ (long lines) (count (filter #(= 10 %) fresh)))})))))))))

(defn- wait-for-log
  "Until less than half of the queue is full: what is logged faster than it is written is lost, and counted."
  [server written]
  (is (wire/eventually #(< (- (long (get-in (server/server-stats server) [:access-log :entries])) (long (written))) 4096))))

(deftest each-of-a-hundred-thousand-requests-with-faults-has-a-line
  (doseq [[about rounds options] [["default" 50 {}] ["a user's pool" 3 {:worker-pool (delay (Executors/newFixedThreadPool 4))}]
                                  ["a short queue" 3 {:allow-virtual? false :thread 1 :queue-size 5}]]]
    (testing about
      (let [file   (io/file (temporary-directory) "access.log")
            {:keys [port server] :as started} (wire/start handler (assoc options :access-log file))
            written (line-counter file)
            clients (doall (for [_ (range 4)]
                             (future
                               (dotimes [_ rounds]
                                 (doseq [pipeline (shuffle (if (:queue-size options) (rest pipelines) pipelines))]
                                   (wait-for-log server written)
                                   (use-connection port pipeline))))))]
        (run! deref clients)
        (is (wire/eventually #(= 0 (get-in (server/server-stats server) [:connections :open]))))
        (is (wire/eventually #(let [{:keys [requests access-log]} (server/server-stats server)]
                                (= (:total requests) (:entries access-log)))))
        (wire/stop started 5000)
        (let [{:keys [requests access-log]} (server/server-stats server)
              statuses (frequencies (map #(second (re-find #"\" (\d{3}) (?:-|\d+) \"" %)) (lines file)))]
          (when-not (:queue-size options) (is (< (* 4 rounds 500) (:total requests))))
          (is (= (:total requests) (:entries access-log) (count (lines file))))
          (is (= 0 (:lost access-log)))
          (is (= (:by-status requests)
                 (dissoc (reduce-kv (fn [m status n] (merge-with + m {(if (= "499" status) :none (Long/parseLong (subs status 0 1))) n})) {} statuses)
                         :none))))))))

(deftest faults-of-all-kinds-are-counted-as-clients-saw-them
  (let [n       20
        entries (atom [])
        go      (promise)
        slow    (fn [{:keys [uri]}] (when (= "/slow" uri) @go) {:body "x"})]
    (wire/with-server [{:keys [server port]} slow
                       {:ssl-port 0, :tls (certs/pem "server"), :header-timeout 5000, :body-timeout 5000, :handler-timeout 5000
                        :access-log #(swap! entries conj %)}]
      (let [tls-port (server/server-ssl-port server)
            status   (fn [port text] (with-open [conn (wire/connect port)] (wire/send! conn text) (:status (wire/answer conn))))
            kinds    [#(status port (wire/get-request "/"))
                      #(status port "GET / HTTP/1.1\r\nHo")
                      #(status port "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123")
                      #(status port (wire/get-request "/slow"))
                      #(status port "no request\r\n\r\n")
                      #(status tls-port (wire/get-request "/plain"))
                      #(:status (tls-wire/fetch tls-port "/"))
                      #(with-open [conn (wire/connect tls-port)] (wire/send! conn (byte-array [0x16 3 1 0 4 9 0 0 0])) (wire/read-rest conn) nil)]
            seen     (->> (shuffle (mapcat #(repeat n %) kinds)) (mapv #(future (%))) (mapv deref) (remove nil?))]
        (deliver go true)
        (is (= {200 (* 2 n), 408 (* 2 n), 503 n, 400 (* 2 n)} (frequencies seen)))
        (is (wire/eventually #(= (count seen) (count @entries))))
        (let [{:keys [requests timeouts tls access-log]} (server/server-stats server)]
          (is (= {:total (count seen), :active 0, :rejected 0, :by-status {2 (* 2 n), 4 (* 4 n), 5 n}} requests))
          (is (= [n n n] ((juxt :header :body :handler) timeouts)))
          (is (= [n n] ((juxt :handshakes :failed) tls)))
          (is (= {:entries (count seen), :lost 0} access-log))
          (is (= (frequencies seen) (frequencies (map :status @entries))))
          (is (= {:timeout (* 3 n), :done (* 4 n)} (frequencies (map :end @entries)))))))))
