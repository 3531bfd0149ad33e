(ns httpkit.channel-closing-test
  "Closings of channels whose callbacks run, or wait."
  (:require [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [httpkit.ws-wire :as frames]
            [org.httpkit.server :as server]
            [ring.websocket.protocols :as ring])
  (:import (java.util.concurrent CountDownLatch Executors TimeUnit)
           (org.httpkit.server AsyncChannel)))

(set! *warn-on-reflection* true)

(defn- send-frames! [conn & fs] (frames/send! conn fs nil))

(defn- modes
  "Options of servers that run their callbacks in different ways."
  []
  {"own threads"       {:allow-virtual? false :thread 2}
   "default"           {}
   "a user's pool"     {:worker-pool (Executors/newFixedThreadPool 2)}
   "a pool of one"     {:worker-pool (Executors/newSingleThreadExecutor)}})

(def ^:private leavings
  {"closes the connection" wire/disconnect
   "resets it"             wire/reset
   "ends its side"         wire/half-close
   "sends a close frame"   #(send-frames! % [:close 1000])})

(defn- until-closed
  "{:callback :on-close :begun :ends}: the callback runs until on-close is called. The last two are promises, of
  true; `:ends` of false if the callback has lost patience."
  []
  (let [begun (promise) closed (promise) ends (promise)]
    {:callback (fn [] (deliver begun true) (deliver ends (true? (wire/outcome closed))))
     :on-close (fn [] (deliver closed true))
     :begun    begun
     :ends     ends}))

(defn- channel [callbacks]
  (fn [{:keys [callback on-close]}]
    (fn [req]
      (server/as-channel req (assoc (into {} (map (fn [k] [k (fn [_ _] (callback))])) callbacks)
                                    :on-close (fn [_ _] (on-close)))))))

(defn- pongs [{:keys [callback on-close]}]
  (fn [req]
    ;; Before the channel opens: a pong that comes before its handler is dropped.
    (.setPongHandler ^AsyncChannel (:async-channel req) (fn [_] (callback)))
    (server/as-channel req {:on-close (fn [_ _] (on-close))})))

(defn- listener [{:keys [callback on-close]}]
  (fn [_]
    {:ring.websocket/listener
     (reify
       ring/Listener
       (on-open    [_ _])
       (on-message [_ _ _] (callback))
       (on-pong    [_ _ _] (callback))
       (on-error   [_ _ _])
       (on-close   [_ _ _ _] (on-close))
       ring/PingListener
       (on-ping    [_ _ _] (callback)))}))

(def ^:private callbacks
  ;; about, handler, what makes the callback run
  [["on-receive"      (channel [:on-receive]) [:text "m"]]
   ["on-ping"         (channel [:on-ping])    [:ping "p"]]
   ["a pong handler"  pongs                   [:pong "p"]]
   ["Ring on-message" listener                [:text "m"]]
   ["Ring on-ping"    listener                [:ping "p"]]
   ["Ring on-pong"    listener                [:pong "p"]]])

(deftest on-close-does-not-wait-for-a-callback-that-runs
  (doseq [mode                     (keys (modes))
          [about handler-of frame] callbacks
          [how leave]              (if (= "on-receive" about) leavings (take 1 leavings))]
    (testing (str mode ", " about ", the peer " how)
      (let [{:keys [begun ends] :as calls} (until-closed)]
        (wire/with-server [{:keys [port]} (handler-of calls) (get (modes) mode)]
          (let [conn (wire/upgrade port)]
            (send-frames! conn frame)
            (is (true? (wire/outcome begun)))
            (leave conn)
            (is (true? (wire/outcome ends)))
            (wire/disconnect conn)))))))

(deftest on-close-does-not-wait-for-the-callback-of-a-message-that-was-queued-before
  (doseq [mode ["own threads" "a user's pool"]]
    (testing mode
      (let [{:keys [ends] :as calls} (until-closed)
            busy     (CountDownLatch. 2)
            released (promise)
            ws       ((channel [:on-receive]) calls)
            handler  (fn [req]
                       (if (:websocket? req)
                         (ws req)
                         (do (.countDown busy) (wire/outcome released) {:body "done"})))]
        (wire/with-server [{:keys [port]} handler (get (modes) mode)]
          (let [conn   (wire/upgrade port)
                others (vec (repeatedly 2 #(doto (wire/connect port) (wire/write! (wire/get-request "/")))))]
            (.await busy)
            (send-frames! conn [:text "m"] [:close 1000])
            (is (= [:close 1000 ""] (frames/receive! conn)) "both have arrived, and no thread is free")
            (deliver released true)
            (is (true? (wire/outcome ends)))
            (run! wire/disconnect (cons conn others))))))))

(deftest on-close-for-a-close-of-ours-runs-at-once-on-the-thread-that-closes
  (doseq [[how close!] {"close" server/close, "a send that closes" #(server/send! % "bye" true)}]
    (testing how
      (let [begun (promise) over (promise) told (atom [])]
        (wire/with-server [{:keys [port]}
                           #(server/as-channel % {:on-receive (fn [ch _] (deliver begun ch) (wire/outcome over))
                                                  :on-close   (fn [_ status] (swap! told conj [status (Thread/currentThread)]))})
                           {}]
          (let [conn (wire/upgrade port)]
            (send-frames! conn [:text "m"])
            (is (true? (close! (wire/outcome begun))))
            (is (= [[:server-close (Thread/currentThread)]] @told))
            (deliver over true)
            (wire/disconnect conn)))))))

(deftest a-close-before-any-send-ends-an-http-1-0-connection-without-a-reset
  (doseq [request ["GET / HTTP/1.0\r\n\r\n" "HEAD / HTTP/1.0\r\n\r\n"
                   "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                   "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nxmore"]]
    (testing (pr-str request)
      (let [told (promise) closes (promise)]
        (wire/with-server [{:keys [port]}
                           #(server/as-channel % {:on-open  (fn [ch] (deliver closes [(server/close ch) (server/close ch)]))
                                                  :on-close (fn [_ status] (deliver told status))})
                           {}]
          (let [{:keys [^java.io.InputStream in] :as conn} (wire/connect port)]
            (wire/write! conn request)
            (is (= -1 (.read in)) "not a reset, which throws")
            (is (= [true false] (wire/outcome closes)))
            (is (= :server-close (wire/outcome told)))
            (wire/disconnect conn)))))))

(deftest on-close-is-heard-though-all-threads-run-such-callbacks
  (doseq [[mode pool] {"own threads"   (fn [] {:allow-virtual? false :thread 2})
                       "a user's pool" (fn [] {:worker-pool (Executors/newFixedThreadPool 2)})}]
    (testing mode
      (let [calls   (vec (repeatedly 2 until-closed))
            left    (atom (map (channel [:on-receive]) calls))
            handler (fn [req] ((first (first (swap-vals! left rest))) req))]
        (wire/with-server [{:keys [port]} handler (pool)]
          (let [conns (vec (repeatedly 2 #(doto (wire/upgrade port) (send-frames! [:text "m"]))))]
            (is (every? true? (map (comp wire/outcome :begun) calls)))
            (run! wire/disconnect conns)
            (is (every? true? (map (comp wire/outcome :ends) calls)))))))))

(deftest what-waits-behind-such-a-callback-is-delivered-and-on-close-runs-once
  (doseq [mode (keys (modes))]
    (testing mode
      (let [log (atom []) closed (promise)]
        (wire/with-server [{:keys [port]}
                           #(server/as-channel % {:on-receive (fn [_ message]
                                                                (when (= "0" message) (wire/outcome closed))
                                                                (swap! log conj message))
                                                  :on-close   (fn [_ status]
                                                                (swap! log conj status)
                                                                (deliver closed true))})
                           (get (modes) mode)]
          (let [conn (wire/upgrade port)]
            (apply send-frames! conn (map #(vector :text (str %)) (range 200)))
            (send-frames! conn [:close 1001])
            (is (wire/eventually #(= 201 (count @log))))
            (wire/disconnect conn)))
        ;; The server has stopped: nothing can come after.
        (is (= (cons :going-away (map str (range 200))) @log))))))

(deftest on-close-waits-for-any-number-of-callbacks-that-are-quick
  (doseq [mode (keys (modes))]
    (testing mode
      (let [log (atom []) longest (atom 0)]
        (wire/with-server [{:keys [port]}
                           #(server/as-channel % {:on-receive (fn [_ message]
                                                                (let [begun (System/nanoTime)]
                                                                  (Thread/sleep 20)
                                                                  (swap! log conj message)
                                                                  (swap! longest max (- (System/nanoTime) begun))))
                                                  :on-close   (fn [_ status] (swap! log conj status))})
                           (get (modes) mode)]
          (let [conn (wire/upgrade port)]
            (apply send-frames! conn (conj (mapv #(vector :text (str %)) (range 30)) [:close 1000]))
            (is (wire/eventually #(= 31 (count @log))))
            (wire/disconnect conn)))
        (is (or (= (conj (mapv str (range 30)) :normal) @log)
                ;; A busy machine made a callback long.
                (< 100000000 (long @longest)))
            (pr-str @log))))))

(deftest messages-that-wait-for-a-thread-are-delivered-before-on-close
  (doseq [mode ["own threads" "a user's pool"]
          [how leave] leavings]
    (testing (str mode ", the peer " how)
      (let [log      (atom [])
            busy     (CountDownLatch. 2)
            released (promise)
            handler  (fn [req]
                       (if (:websocket? req)
                         (server/as-channel req {:on-receive (fn [_ message] (swap! log conj message))
                                                 :on-close   (fn [_ _] (swap! log conj :closed))})
                         (do (.countDown busy) (wire/outcome released) {:body "done"})))]
        (wire/with-server [{:keys [port]} handler (get (modes) mode)]
          (let [conn   (wire/upgrade port)
                others (vec (repeatedly 2 #(doto (wire/connect port) (wire/write! (wire/get-request "/")))))]
            (.await busy)
            (apply send-frames! conn (map #(vector :text (str %)) (range 70)))
            (send-frames! conn [:ping "sync"])
            (is (= [:pong "sync"] (frames/receive! conn)) "the server has read all of them")
            (leave conn)
            ;; Longer than a running callback may hold a closing up: none runs.
            (Thread/sleep 300)
            (deliver released true)
            (is (wire/eventually #(= :closed (last @log))))
            (is (= (conj (mapv str (range 70)) :closed) @log))
            (run! wire/disconnect (cons conn others))))))))

(deftest a-server-that-stops-tells-callbacks-that-run-and-waits-for-on-close
  (doseq [mode (keys (modes))]
    (testing mode
      (let [closed (atom false) begun (promise)]
        (wire/with-server [{:keys [port server]}
                           #(server/as-channel % {:on-receive (fn [_ _]
                                                                (deliver begun true)
                                                                (wire/spin-until (fn [] @closed)))
                                                  :on-close   (fn [_ _] (reset! closed true))})
                           (get (modes) mode)]
          (let [conn (wire/upgrade port)]
            (send-frames! conn [:text "m"])
            (is (true? (wire/outcome begun)))
            (wire/outcome (server/server-stop! server {:timeout 0}))
            (is (true? @closed))
            (wire/disconnect conn)))))))

(deftest close-handlers-that-wait-for-each-other-are-all-heard
  ;; More than there are processors or threads of a small pool: each runs beside a callback that waits for its end.
  (let [n       24
        begun   (CountDownLatch. n)
        all     (CountDownLatch. n)
        over    (promise)
        handler (fn [req]
                  (server/as-channel req
                    {:on-receive (fn [_ _] (.countDown begun) (deref over (* 3 wire/patience-ms) nil))
                     :on-close   (fn [_ _] (.countDown all) (.await all wire/patience-ms TimeUnit/MILLISECONDS))}))]
    (wire/with-server [{:keys [port]} handler {:worker-pool (Executors/newFixedThreadPool n)}]
      (let [conns (vec (repeatedly n #(wire/upgrade port)))]
        (run! #(send-frames! % [:text "m"]) conns)
        (is (.await begun wire/patience-ms TimeUnit/MILLISECONDS) "no thread of the pool is left")
        (run! wire/disconnect conns)
        (is (.await all wire/patience-ms TimeUnit/MILLISECONDS) (str (.getCount all) " are not heard"))
        (deliver over true)))))
