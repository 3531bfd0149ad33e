(ns httpkit.broadcast-test
  "One send on many channels."
  (:require [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [httpkit.ws-wire    :as ws]
            [org.httpkit.server :as server]
            [org.httpkit.topics :as topics])
  (:import (java.io ByteArrayInputStream Closeable)
           (java.net InetSocketAddress Socket)
           (java.nio.file Files Path)
           (java.util.concurrent LinkedBlockingQueue TimeUnit)
           (org.httpkit.server Frame$PingFrame)))

(set! *warn-on-reflection* true)

(defn- next-of [^LinkedBlockingQueue queue]
  (.poll queue wire/patience-ms TimeUnit/MILLISECONDS))

(defn- handler
  "Puts each channel into `opened`; at /stream, once its head is sent."
  [^LinkedBlockingQueue opened options]
  (fn [{:keys [uri] :as req}]
    (server/as-channel req
      (assoc options :on-open (fn [ch]
                                (when (= uri "/stream")
                                  (server/send! ch {:status 200 :body ""} false))
                                (.put opened ch))))))

(defn- ask ^Closeable [port path]
  (doto (wire/connect port)
    (wire/send! (wire/get-request path))))

(defn- open-stream ^Closeable [port]
  (doto (ask port "/stream") wire/read-head))

(defn- read-chunk [conn]
  (let [size  (Long/parseLong (wire/read-line! conn) 16)
        chunk (String. ^bytes (wire/read-exactly conn size) "UTF-8")]
    (wire/read-line! conn)
    chunk))

(defn- text [payload] [:text payload])

(defmacro ^:private with-both
  "A WebSocket `peer` with its channel, and a streamed response `conn` with its."
  [[peer socket conn stream options port] & body]
  `(let [opened# (LinkedBlockingQueue.)]
     (wire/with-server [{~port :port} (handler opened# ~options) {}]
       (let [~peer   (ws/connect ~port wire/patience-ms)
             ~socket (next-of opened#)]
         (with-open [~conn (open-stream ~port)]
           (let [~stream (next-of opened#)]
             (try ~@body (finally (ws/disconnect ~peer)))))))))

(deftest streams-websockets-closed-and-fresh-channels-may-be-mixed-in-any-reducible
  (let [opened (LinkedBlockingQueue.)]
    (wire/with-server [{:keys [port]} (handler opened {}) {}]
      (let [peer   (ws/connect port wire/patience-ms)
            socket (next-of opened)]
        (with-open [_closed (open-stream port)]
          (let [closed   (next-of opened)
                _        (server/close closed)
                conn     (open-stream port)
                fresh    (ask port "/")
                channels (into [closed socket] (repeatedly 2 #(next-of opened)))]
            (is (= 3 (server/broadcast! (eduction (map identity) channels) "é 1")))
            (is (= 3 (server/broadcast! (set channels) "2")))
            (is (= 0 (server/broadcast! [closed] "3") (server/broadcast! nil "3") (server/broadcast! [] "3")))
            (is (= [(ws/expected (text "é 1")) (text "2")] [(ws/receive! peer) (ws/receive! peer)]))
            (is (= 200 (:status (wire/read-head fresh))))
            (doseq [stream [conn fresh]]
              (is (= ["é 1" "2"] [(read-chunk stream) (read-chunk stream)]))
              (.close ^Closeable stream))))
        (ws/disconnect peer)))))

(deftest each-type-of-data-arrives-as-with-send!
  (with-both [peer socket conn stream {} port]
    (let [both [socket stream]]
      (doseq [[data frame] [["text" :text]
                            [(.getBytes "text") :binary]
                            [(ByteArrayInputStream. (.getBytes "text")) :binary]
                            [{:body "text"} :text]
                            [{:body (ByteArrayInputStream. (.getBytes "text"))} :binary]]]
        (is (= 2 (server/broadcast! both data)))
        (is (= [frame "text"] (ws/receive! peer)))
        (is (= "text" (read-chunk conn))))
      (is (= 2 (server/broadcast! both "")) "an empty message, and no chunk")
      (is (= (text "") (ws/receive! peer)))
      (is (= 1 (server/broadcast! [socket] (Frame$PingFrame. (.getBytes "p")))))
      (is (= [:ping "p"] (ws/receive! peer)))
      (is (= 2 (server/broadcast! both nil)) "sends nothing"))))

(deftest broadcasts-and-sends-of-a-thread-arrive-in-their-order
  (with-both [peer socket conn stream {} port]
    (let [long-text (fn [n] (apply str n "c " (when (zero? (rem (long n) 50)) (repeat 50000 \x))))
          rounds    (range 300)
          wanted    (mapcat (fn [n] [(str n "a") (str n "b") (long-text n)]) rounds)
          sent      (future
                      (doseq [n rounds]
                        (server/broadcast! [socket stream] (str n "a"))
                        (server/send! socket (str n "b"))
                        (server/send! stream (str n "b") false)
                        (server/broadcast! [stream socket] (long-text n))))]
      (is (every? true? (map #(= (ws/expected (text %)) (ws/receive! peer)) wanted)))
      (is (every? true? (map #(= % (read-chunk conn)) wanted)))
      (is (nil? (deref sent wire/patience-ms :sending))))))

(deftest broadcasts-to-so-many-that-loops-help-keep-that-order-too
  (let [opened (LinkedBlockingQueue.), n 1200, rounds (range 5)]
    (wire/with-server [{:keys [port]} (handler opened {}) {}]
      (let [peers    (vec (repeatedly n #(ws/connect port wire/patience-ms)))
            channels (vec (repeatedly n #(next-of opened)))]
        (try
          (doseq [i rounds]
            (is (= n (server/broadcast! channels (str "to all " i))))
            (is (every? true? (map #(server/send! % (str "to one " i)) channels))))
          (let [wanted (mapcat #(vector (text (str "to all " %)) (text (str "to one " %))) rounds)]
            (is (every? (fn [peer] (= wanted (repeatedly (count wanted) #(ws/receive! peer)))) peers)))
          (finally (run! ws/disconnect peers)))))))

(deftest close-after-send-closes-each-channel-once
  (let [closings (LinkedBlockingQueue.)]
    (with-both [peer socket conn stream {:on-close (fn [ch _] (.put closings ch))} port]
      (is (= 2 (server/broadcast! [socket stream] "last" {:close-after-send? true})))
      (is (= #{socket stream} (set [(next-of closings) (next-of closings)])))
      (is (not-any? server/open? [socket stream]))
      (is (= (text "last") (ws/receive! peer)))
      (is (= [:close 1000 ""] (ws/receive! peer)))
      (is (= ["last"] (wire/read-chunks conn)))
      (is (= 0 (server/broadcast! [socket stream] "more")))
      (is (zero? (count closings))))))

(defn- fill!
  "Sends more on a channel than the kernel takes for a peer that does not read."
  [channel]
  (is (server/send! channel (byte-array (* 16 1024 1024)) false))
  (is (pos? (long (server/pending-bytes channel)))))

(deftest a-channel-that-is-full-follows-its-policy-or-that-of-the-call-and-the-others-get-the-data
  (doseq [[policy given closes?] [[:close nil true] [:reject nil false] [:close :reject false]
                                  [:block :reject false] [:reject :close true]]]
    (testing [policy given]
      (let [drained (LinkedBlockingQueue.)]
        (with-both [peer socket conn stream {:on-overflow       policy
                                             :max-pending-bytes 1
                                             :on-drain          (fn [ch] (.put drained ch))} port]
          (fill! stream)
          (is (= 1 (server/broadcast! [stream socket] "news" {:on-overflow given})))
          (is (= (text "news") (ws/receive! peer)))
          (is (= closes? (not (server/open? stream))))
          (when-not closes?
            (is (nil? (.poll ^LinkedBlockingQueue drained)))
            (future (wire/read-rest conn))
            (is (= stream (next-of drained)) "on-drain")))))))

(deftest a-channel-that-blocks-delays-the-caller-and-not-the-websockets
  (with-both [peer socket conn stream {:on-overflow :block, :max-pending-bytes 1} port]
    (fill! stream)
    (let [accepted (future (server/broadcast! [stream socket] "news"))]
      (is (= (text "news") (ws/receive! peer)))
      (is (not (realized? accepted)))
      (future (wire/read-rest conn))
      (is (= 2 (deref accepted wire/patience-ms :blocked))))))

(deftest wrong-arguments-are-named-and-nothing-is-sent
  (with-both [peer socket conn stream {} port]
    (doseq [[channels data options message]
            [[[socket nil] "x" nil #"broadcast! to nil: expected channels"]
             [[stream "no"] "x" nil #"broadcast! to \"no\": expected channels"]
             [[socket stream] 7 nil #"cannot send a java.lang.Long"]
             [[stream] 7 nil #"class java.lang.Long is not understandable"]
             [[stream] :kw nil #"class clojure.lang.Keyword is not understandable"]
             [[stream] {:body 7} nil #"class java.lang.Long is not understandable"]
             [[stream socket] {:headers {}} nil #"only the :body of a map is sent"]
             [[socket] "x" {:on-overflow :block} #"on-overflow :block.*expected :close or :reject"]
             [[socket] "x" {:on-overflw :reject} #"on-overflw is no option of broadcast!; did you mean :on-overflow"]
             [[socket] "x" true #"options true of broadcast!: expected a map"]]]
      (is (thrown-with-msg? IllegalArgumentException message (server/broadcast! channels data options))))
    (server/broadcast! [socket stream] "first")
    (is (= (text "first") (ws/receive! peer)))
    (is (= "first" (read-chunk conn)))))

(deftest a-failing-close-callback-keeps-the-data-from-no-other-channel
  (with-both [peer socket conn stream {:on-close (fn [_ _] (throw (IllegalStateException. "on-close")))} port]
    (is (thrown-with-msg? IllegalStateException #"on-close"
                          (server/broadcast! [socket stream] "last" {:close-after-send? true})))
    (is (= (text "last") (ws/receive! peer)))
    (is (= ["last"] (wire/read-chunks conn)))))

;;;; Close callbacks that send to the others

(defn- deaf-peer
  "A WebSocket that takes hardly anything into its own buffers, and reads nothing."
  ^Closeable [port]
  (let [socket (doto (Socket.)
                 (.setReceiveBufferSize 4096)
                 (.connect (InetSocketAddress. "127.0.0.1" (int port))))]
    (doto (wire/wrap socket) (wire/send! ws/handshake))))

(def ^:private tellings
  {"broadcast!"      #(server/broadcast! % "one has left")
   "a loop of send!" #(run! (fn [ch] (server/send! ch "one has left")) %)})

(defn- with-full-channels
  "Calls f with n WebSockets that are full, and that the next send closes."
  [n on-close server-options f]
  (let [opened (LinkedBlockingQueue.)]
    (wire/with-server [{:keys [port]} (handler opened {:max-pending-bytes 1, :on-close on-close}) server-options]
      (let [conns    (vec (repeatedly n #(deaf-peer port)))
            channels (vec (repeatedly n #(next-of opened)))]
        (try
          (is (= n (server/broadcast! channels (byte-array (* 8 1024 1024)))))
          (is (every? #(pos? (long (server/pending-bytes %))) channels))
          (f channels)
          (finally (run! #(.close ^Closeable %) conns)))))))

(deftest close-callbacks-that-send-to-full-channels-do-not-nest-without-end
  (doseq [[how tell] tellings
          sends      (vals tellings)]
    (testing how
      (let [n 30, left (atom nil), depth (ThreadLocal/withInitial (constantly 0)), deepest (atom 0), told (atom [])]
        (with-full-channels n
          (fn [ch _]
            (.set depth (inc (long (.get depth))))
            (swap! deepest max (.get depth))
            (swap! left disj ch)
            (tell @left)
            (swap! told conj ch)
            (.set depth (dec (long (.get depth)))))
          {}
          (fn [channels]
            (reset! left (set channels))
            (run! #(topics/subscribe! % "room") channels)
            (sends channels)
            (is (= 0 (topics/subscribers (first channels) "room")))
            (is (= (set channels) (set @told)) "all before the call returns")
            (is (= n (count @told)))
            (is (> 10 (long @deepest)))))))))

(deftest close-callbacks-that-throw-keep-none-from-the-others
  (doseq [[how tell] tellings]
    (testing how
      (let [n 20, left (atom nil), told (atom []), logged (LinkedBlockingQueue.)]
        (with-full-channels n
          (fn [ch _]
            (swap! left disj ch)
            (swap! told conj ch)
            (try (tell @left) (finally (throw (IllegalStateException. "on-close")))))
          {:error-logger (fn [_ e] (.put logged e))}
          (fn [channels]
            (reset! left (set channels))
            (is (thrown-with-msg? IllegalStateException #"on-close" (server/send! (first channels) "x")))
            (is (= n (count (set @told)) (count @told)))))))))

(deftest a-close-callback-that-waits-for-those-of-channels-that-it-has-closed-hears-of-them
  (let [n 20, left (atom nil), told (atom #{}), waits (atom [])]
    (with-full-channels n
      (fn [ch _]
        (swap! left disj ch)
        (swap! told conj ch)
        (run! #(server/send! % "one has left") @left)
        (swap! waits conj (boolean (wire/eventually #(= n (count @told))))))
      {}
      (fn [channels]
        (reset! left (set channels))
        (server/send! (first channels) "x")
        (is (wire/eventually #(= n (count @waits))))
        (is (every? true? @waits))))))

(deftest a-close-callback-that-closes-another-channel-finds-its-callback-run-and-gets-what-that-throws
  (let [log (atom []), other (atom nil), opened (LinkedBlockingQueue.)]
    (wire/with-server [{:keys [port]}
                       (handler opened {:on-close (fn [ch _]
                                                    (swap! log conj [:begins ch])
                                                    (if (= ch @other)
                                                      (throw (IllegalStateException. "other"))
                                                      (try (server/close @other)
                                                           (catch IllegalStateException e
                                                             (swap! log conj [(ex-message e) ch])))))})
                       {}]
      (let [peers  (vec (repeatedly 2 #(ws/connect port wire/patience-ms)))
            [a b]  (vec (repeatedly 2 #(next-of opened)))]
        (reset! other b)
        (server/close a)
        (is (= [[:begins a] [:begins b] ["other" a]] @log))
        (run! ws/disconnect peers)))))

(deftest what-close-callbacks-send-comes-never-after-the-last-message-of-a-broadcast
  (doseq [[how tell] tellings]
    (testing how
      (let [opened (LinkedBlockingQueue.), channels (atom []), telling (atom 0)]
        (wire/with-server [{:keys [port]} (handler opened {:on-close (fn [_ _] (swap! telling inc) (tell @channels))}) {}]
          (let [conns (vec (repeatedly 3 #(open-stream port)))
                fresh (ask port "/")
                peers (vec (repeatedly 3 #(ws/connect port wire/patience-ms)))]
            (reset! channels (vec (repeatedly 7 #(next-of opened))))
            (is (= 7 (server/broadcast! @channels "last" {:close-after-send? true})))
            (is (= 7 @telling))
            (doseq [conn conns]
              (is (= ["last"] (wire/read-chunks conn)))
              (.close ^Closeable conn))
            (is (= "4" (get-in (wire/read-head fresh) [:headers "content-length"])))
            (.close fresh)
            (doseq [peer peers]
              (is (= [(text "last") [:close 1000 ""]] [(ws/receive! peer) (ws/receive! peer)]))
              (ws/disconnect peer))))))))

(deftest of-several-close-callbacks-that-throw-one-reaches-the-caller-and-the-others-are-logged
  (let [opened (LinkedBlockingQueue.), logged (LinkedBlockingQueue.)]
    (wire/with-server [{:keys [port]}
                       (handler opened {:on-close (fn [ch _] (throw (ex-info "on-close" {:ch ch})))})
                       {:error-logger (fn [_ e] (.put logged e))}]
      (let [peers    (vec (repeatedly 3 #(ws/connect port wire/patience-ms)))
            channels (vec (repeatedly 3 #(next-of opened)))
            thrown   (try (server/broadcast! channels "x" {:close-after-send? true}) (catch Exception e e))]
        (is (= (set channels) (set (map (comp :ch ex-data) [thrown (next-of logged) (next-of logged)]))))
        (run! ws/disconnect peers)))))

(defn- resident-bytes ^long []
  (let [status (Files/readAllLines (Path/of "/proc/self/status" (make-array String 0)))]
    (* 1024 (Long/parseLong (some #(second (re-matches #"VmRSS:\s+(\d+) kB" %)) status)))))

(deftest peers-that-do-not-read-share-one-copy
  (let [opened (LinkedBlockingQueue.)
        peers  40
        data   (byte-array (* 8 1024 1024))]
    (wire/with-server [{:keys [port]} (handler opened {}) {}]
      (let [conns    (vec (repeatedly peers #(deaf-peer port)))
            channels (vec (repeatedly peers #(next-of opened)))
            before   (resident-bytes)]
        (try
          (is (= peers (server/broadcast! channels data)))
          (is (< (* peers 3 1024 1024) (long (transduce (map server/pending-bytes) + channels))))
          (is (< (- (resident-bytes) before) (* 64 1024 1024)))
          (finally (run! #(.close ^Closeable %) conns)))))))
